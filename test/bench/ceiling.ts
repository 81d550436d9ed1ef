// The load generator's ceiling: a server that answers 200 to every REQUEST_BYTES bytes without parsing them.

const ANSWER = Buffer.from("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok");
const size = Number(process.env.REQUEST_BYTES);

Bun.listen<{ remaining: number }>({
  port: Number(process.env.PORT),
  hostname: "127.0.0.1",
  socket: {
    open: (socket) => void (socket.data = { remaining: size }),
    data(socket, bytes) {
      for (socket.data.remaining -= bytes.length; socket.data.remaining <= 0; socket.data.remaining += size)
        socket.write(ANSWER);
    },
  },
});
