"""``/api/v1/admin/…``: what managers and operators see and do over the API."""
