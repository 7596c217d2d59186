// A part of a page with a socket of its own: each message is a hint to ask for the part again.

const LEAST_MS = 1000; // between two refreshes, however much is told
const MOST_WAIT_MS = 30_000; // before the socket is tried again
const OVER = 1000; // closed because there is nothing more to tell

// Calls `refresh` when there is news, `opened` and `closed` as the socket comes and goes.
export function followSocket(path, { refresh, opened, closed }) {
  let [seen, tries, refreshedAt, waiting] = [0, 0, 0, null];

  function soon() {
    if (waiting) return;
    waiting = setTimeout(() => {
      waiting = null;
      refreshedAt = Date.now();
      refresh();
    }, Math.max(0, refreshedAt + LEAST_MS - Date.now()));
  }

  function connect() {
    const address = new URL(path, window.location.href);
    address.protocol = address.protocol.replace("http", "ws");
    if (seen) address.searchParams.set("after", seen);
    const socket = new WebSocket(address);
    socket.addEventListener("open", () => {
      tries = 0;
      opened();
    });
    socket.addEventListener("message", (event) => {
      seen = Math.max(seen, ...JSON.parse(event.data).events.map(({ seq }) => seq));
      soon();
    });
    socket.addEventListener("close", ({ code }) => {
      closed();
      soon();
      if (code !== OVER && code < 4000) setTimeout(connect, Math.random() * Math.min(MOST_WAIT_MS, 1000 * 2 ** ++tries));
    });
  }

  connect();
}
