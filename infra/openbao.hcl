# OpenBao for both stacks: one node, data in a volume, unsealed by a key file that lies in another volume.
ui = false

storage "raft" {
  path    = "/openbao/file"
  node_id = "openbao"
}

# Plain HTTP on a network that only these containers share. For an OpenBao on another machine, use TLS and
# set SA01_VAULT_ADDR and SA01_VAULT_CA_FILE.
listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
  tls_disable     = true
}

seal "static" {
  current_key_id = "somaagent-1"
  current_key    = "file:///openbao/seal/key"
}

api_addr     = "http://openbao:8200"
cluster_addr = "http://openbao:8201"
