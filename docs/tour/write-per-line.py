import socket

listener = socket.create_server(("127.0.0.1", 3000))
while True:
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for line in connection.makefile("rb"):
        connection.send(line)
    connection.close()
