"""What is done to a breaker in Valkey, each in one step, by Valkey's own clock.

``KEYS``: the breaker's hash, the sorted set of breakers that are not closed. ``ARGV``: the breaker's name,
its threshold, how long it stays open and how long it is remembered (ms), and what a script has of its own.
"""

from __future__ import annotations

_BEGIN = """
local name, threshold, stay, keep = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HGET', KEYS[1], 'state') or 'closed'

local function move(to)
  redis.call('HDEL', KEYS[1], 'failures')
  redis.call('HSET', KEYS[1], 'state', to, 'until', now + stay)
  redis.call('PEXPIRE', KEYS[1], keep)
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  redis.call('ZADD', KEYS[2], now + keep, name)
end
"""

# Before a call: the state, the failures in a row, how long nobody is let in (ms), and the mark of the trial
# that this call is (0: it is none). Who is given a trial is the only one until it ends or its time is over.
ENTER = (
    _BEGIN
    + """
if state == 'closed' then
  return {state, tonumber(redis.call('HGET', KEYS[1], 'failures') or 0), 0, 0}
end
local wait = tonumber(redis.call('HGET', KEYS[1], 'until')) - now
if wait > 0 then
  return {state, 0, wait, 0}
end
move('half-open')
return {'half-open', 0, 0, now + stay}
"""
)

# A failure of a closed breaker; 1 when it was the one that opened it.
FAIL = (
    _BEGIN
    + """
if state ~= 'closed' then
  return 0
end
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
redis.call('PEXPIRE', KEYS[1], keep)
if failures < threshold then
  return 0
end
move('open')
return 1
"""
)

# A trial failed; 1 when that opened the breaker again.
REOPEN = (
    _BEGIN
    + """
if state ~= 'half-open' then
  return 0
end
move('open')
return 1
"""
)

# A call succeeded while the breaker was closed: its failures are no longer in a row.
RECOVER = (
    _BEGIN
    + """
if state == 'closed' then
  redis.call('DEL', KEYS[1])
end
return 0
"""
)

# A trial succeeded, or an operator says so; 1 when the breaker was not closed.
CLOSE = (
    _BEGIN
    + """
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], name)
return state == 'closed' and 0 or 1
"""
)

# A trial told nothing: another may go at once. ARGV[5] is its mark, so that no other's is ended.
RELEASE = (
    _BEGIN
    + """
if state == 'half-open' and redis.call('HGET', KEYS[1], 'until') == ARGV[5] then
  redis.call('HSET', KEYS[1], 'until', now)
end
return 0
"""
)
