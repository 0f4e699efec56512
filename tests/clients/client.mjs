// Connects, sends one line and prints as JSON what it saw.
import net from 'node:net';

const to = process.argv[2];
const colon = to.lastIndexOf(':');
const host = to.slice(0, colon).replace(/[[\]]/g, '');
const socket = net.connect({ host, port: Number(to.slice(colon + 1)) });
let answer = '';
socket.on('connect', () => socket.write('from node\n'));
socket.on('data', (bytes) => {
  answer += bytes;
  if (!answer.includes('\n')) return;
  const getpeername = `${socket.remoteAddress}:${socket.remotePort}`;
  console.log(JSON.stringify({ getpeername, answer: JSON.parse(answer) }));
  socket.end();
});
socket.on('error', (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
