# The server that echoline goes back to, written anew from its description:
# `puts` sends the line and the newline apart, and nobody closes the socket.
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
