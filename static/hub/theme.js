// Set the theme before the first paint; the choice is kept in this browser.
(function () {
  "use strict";
  const key = "hub-theme";
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      return localStorage.getItem(key) || "auto";
    } catch {
      return "auto";
    }
  }

  function apply() {
    const theme = chosen();
    const shown = theme === "auto" ? (dark.matches ? "dark" : "light") : theme;
    document.documentElement.setAttribute("data-bs-theme", shown);
    document.dispatchEvent(new CustomEvent("hub:theme", { detail: theme }));
  }

  window.hubTheme = {
    chosen: chosen,
    choose: function (theme) {
      try {
        localStorage.setItem(key, theme);
      } catch {
        // A browser without storage forgets the choice with the page.
      }
      apply();
    },
  };
  dark.addEventListener("change", apply);
  apply();
})();
