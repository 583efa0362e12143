import socket

listener = socket.create_server(("127.0.0.1", 3000))
connections = []
while True:
    connection, _ = listener.accept()
    connections.append(connection)
    for line in connection.makefile("rb"):
        connection.send(line[:-1])
        connection.send(b"\n")
