import socket
import time

client = socket.create_connection(("127.0.0.1", 3000), timeout=5)
time.sleep(0.2)
client.send(b"1\n", socket.MSG_MORE)
client.shutdown(socket.SHUT_WR)
while client.recv(100):
    pass
