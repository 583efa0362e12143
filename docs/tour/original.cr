# The Crystal server that echoline replaces, rewritten from its description.
# `puts` sends a line and its newline in two writes, and no socket is closed.
require "socket"

def echo(client : TCPSocket)
  while line = client.gets
    client.puts line
  end
end

server = TCPServer.new("127.0.0.1", ARGV[0].to_i, backlog: 4096)
while client = server.accept?
  spawn echo(client)
end
