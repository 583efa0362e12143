import socket

listener = socket.create_server(("127.0.0.1", 3000))
while True:
    connection, _ = listener.accept()
    for line in connection.makefile("rb"):
        connection.send(line)
    connection.close()
