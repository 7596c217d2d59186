// Tables: sort by a column. The choice survives live updates.

const chosen = new Map(); // table id -> { column, down }

function value(row, column) {
  const cell = row.cells[column];
  return cell ? cell.dataset.sort ?? cell.textContent.trim().toLowerCase() : "";
}

function compare(a, b) {
  const [x, y] = [Number(a), Number(b)];
  return a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y) ? x - y : a.localeCompare(b);
}

function sort(table) {
  const order = chosen.get(table.id);
  if (!order) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const wanted = [...rows].sort((a, b) => {
    const by = compare(value(a, order.column), value(b, order.column));
    return order.down ? -by : by;
  });
  if (wanted.some((row, index) => row !== rows[index])) body.append(...wanted);
  for (const head of table.tHead.rows[0].cells) {
    if (!head.hasAttribute("aria-sort")) continue;
    const here = head.cellIndex === order.column;
    head.setAttribute("aria-sort", here ? (order.down ? "descending" : "ascending") : "none");
  }
}

function refresh() {
  for (const id of chosen.keys()) {
    const table = document.getElementById(id);
    if (table) sort(table);
  }
}

export function startTables() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.sort");
    if (!button) return;
    const head = button.closest("th");
    const table = head.closest("table");
    const before = chosen.get(table.id);
    chosen.set(table.id, { column: head.cellIndex, down: before?.column === head.cellIndex && !before.down });
    sort(table);
  });
  document.addEventListener("htmx:wsAfterMessage", refresh);
  document.addEventListener("htmx:afterSettle", refresh);
}
