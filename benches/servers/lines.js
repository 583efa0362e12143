// Line echo with Node.js: readline, and a write per line.
'use strict';
const net = require('node:net');
const readline = require('node:readline');

const server = net.createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => socket.destroy());
  readline
    .createInterface({ input: socket })
    .on('line', (line) => socket.write(`${line}\n`));
});
server.listen(Number(process.argv[2]), '127.0.0.1', 4096);
