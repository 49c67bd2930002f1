// What django-unfold's templates ask of Alpine, registered by name: Alpine's build for strict policies
// (Content-Security-Policy without 'unsafe-eval') calls no function of the window and sees no global.
"use strict";
document.addEventListener("alpine:init", () => {
  const { Alpine, theme: unfoldTheme, searchForm } = window;
  Alpine.data("theme", () => ({
    ...unfoldTheme("auto"),
    // Expressions in unfold's templates name these two as globals.
    window: { location: { pathname: location.pathname, search: location.search } },
    localStorage: { setItem: (name, value) => localStorage.setItem(name, value) },
  }));
  Alpine.data("searchForm", searchForm);
  Alpine.data("page", () => ({
    activeTab: "",
    sidebarMobileOpen: false,
    sidebarDesktopOpen: localStorage.getItem("sidebarDesktopOpen") !== "0",
    init() {
      const tab = this.$el.dataset.tab;
      this.activeTab = (tab !== undefined && location.hash.slice(1)) || tab || "";
      this.$watch("sidebarDesktopOpen", (isOpen) => localStorage.setItem("sidebarDesktopOpen", isOpen ? "1" : "0"));
    },
  }));
});
