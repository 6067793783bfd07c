import { readdirSync } from "node:fs";
import { defineConfig } from "vite";

// Every *.html beside this file is one page.
const pages = readdirSync(import.meta.dirname).filter((name) => name.endsWith(".html"));

export default defineConfig({
  root: import.meta.dirname,
  build: {
    outDir: "../src/unface/review/page",
    emptyOutDir: true,
    assetsInlineLimit: 0, // the servers' Content-Security-Policy takes scripts and styles from files only
    modulePreload: { polyfill: false },
    rolldownOptions: { input: pages },
  },
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
});
