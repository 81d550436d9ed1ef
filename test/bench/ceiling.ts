// The generator's own ceiling, as a process: it answers 200 to every so many bytes, and looks at none of them.

const ANSWER = Buffer.from("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok");
const size = Number(process.env.REQUEST_BYTES);

Bun.listen<{ left: number }>({
  port: Number(process.env.PORT),
  hostname: "127.0.0.1",
  socket: {
    open: (socket) => void (socket.data = { left: size }),
    data(socket, bytes) {
      for (socket.data.left -= bytes.length; socket.data.left <= 0; socket.data.left += size) socket.write(ANSWER);
    },
  },
});
