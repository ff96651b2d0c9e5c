// What the board's tables need of a browser: numbers in four digits, links that load no page anew.
window.dashAgGridFunctions = window.dashAgGridFunctions || {};
window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {};

window.dashAgGridFunctions.shownNumber = function (value) {
  if (typeof value !== "number") return value === null || value === undefined ? "" : String(value);
  if (Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(4)));
};

// "nan", "inf" and "-inf" come as text; NaN is sorted last, null after it.
window.dashAgGridFunctions.byNumber = function (a, b) {
  const rank = function (value) {
    if (value === null || value === undefined) return [2, 0];
    if (value === "inf") return [0, Infinity];
    if (value === "-inf") return [0, -Infinity];
    return typeof value === "number" ? [0, value] : [1, 0];
  };
  const left = rank(a), right = rank(b);
  if (left[0] !== right[0]) return left[0] - right[0];
  return left[1] < right[1] ? -1 : left[1] > right[1] ? 1 : 0;
};

window.dashAgGridComponentFunctions.BoardLink = function (props) {
  const to = props.data && props.data[props.to];
  if (!to) return props.value;
  return React.createElement("a", {
    href: to,
    onClick: function (event) {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      window.history.pushState({}, "", to);
      window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
    },
  }, props.value);
};
