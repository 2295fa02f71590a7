// Opens every page of the built site, and reports, in Chromium: on a desktop, a phone and in dark colours, and runs
// axe-core on each. node docs/site/axe.mjs [FOLDER…]; `make check-site`. Writes screenshots of some pages into
// build/screens, of reports also as they are printed. Exit code 1 for a finding, a page wider than its window, a script
// that fails, or a request to another place.

import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { createRequire } from 'node:module';

const tools = createRequire(path.resolve('build/axe/package.json'));
const { chromium } = tools('playwright-core');
const axe = fs.readFileSync(tools.resolve('axe-core/axe.min.js'), 'utf8');
const site = path.resolve('build/site');
const folders = process.argv.length > 2 ? process.argv.slice(2).map(name => path.resolve(name)) : [site];
const shown = ['index', 'start', 'tutorials/own-network', 'reference/python', 'reference/cli/export', 'reference/errors'];
const windows = [['desktop', 1280, 900, 'light'], ['phone', 390, 844, 'light'], ['dark', 1280, 900, 'dark']];

const pages = folders.flatMap(folder => fs.readdirSync(folder, { recursive: true })
  .filter(name => name.endsWith('.html')).sort().map(name => [folder, name]));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
fs.mkdirSync('build/screens', { recursive: true });
let faults = 0;
for (const [name, width, height, colorScheme] of windows) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme });
  const page = await context.newPage();
  let seen = [];
  page.on('request', request => { if (!/^(file|data|blob):/.test(request.url())) seen.push(`asks for ${request.url()}`); });
  page.on('pageerror', error => seen.push(`script: ${error}`));
  for (const [folder, file] of pages) {
    seen = [];
    await page.goto(pathToFileURL(path.join(folder, file)).href, { waitUntil: 'load' });
    await page.evaluate(axe);
    const found = await page.evaluate(async () => (await axe.run(document)).violations);
    seen.push(...found.map(one => `${one.impact}: ${one.id}, ${one.nodes.length} times, ${one.nodes[0].html.slice(0, 120)}`));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (wide > 0) seen.push(`is ${wide} pixels wider than the window`);
    for (const fault of seen) console.log(`${name} ${file}: ${fault}`);
    faults += seen.length;
    const title = file.replace('.html', '');
    const screen = `build/screens/${name}-${title.replaceAll('/', '-')}`;
    if (folder === site && shown.includes(title)) await page.screenshot({ path: `${screen}.png` });
    if (folder === site) continue;
    await page.screenshot({ path: `${screen}.png`, fullPage: true });
    if (name === 'desktop') {
      await page.emulateMedia({ media: 'print' });
      await page.pdf({ path: `${screen}.pdf`, format: 'A4' });
      await page.emulateMedia({ media: null });
    }
  }
  await context.close();
}
await browser.close();
console.log(`${pages.length} pages in ${windows.length} windows: ${faults} findings`);
process.exit(faults ? 1 : 0);
