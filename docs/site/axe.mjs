// Opens every page of the built site in Chromium, on a desktop, a phone and in dark colours, and runs axe-core on it.
// `make check-site`; writes screenshots of some pages into build/screens. Exit code 1 for a finding, a page wider than
// its window, a script that fails, or a request to another place.

import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { createRequire } from 'node:module';

const tools = createRequire(path.resolve('build/axe/package.json'));
const { chromium } = tools('playwright-core');
const axe = fs.readFileSync(tools.resolve('axe-core/axe.min.js'), 'utf8');
const site = path.resolve('build/site');
const shown = ['index', 'start', 'tutorials/own-network', 'reference/python', 'reference/cli/export', 'reference/errors'];
const windows = [['desktop', 1280, 900, 'light'], ['phone', 390, 844, 'light'], ['dark', 1280, 900, 'dark']];

const pages = fs.readdirSync(site, { recursive: true }).filter(name => name.endsWith('.html')).sort();
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
fs.mkdirSync('build/screens', { recursive: true });
let faults = 0;
for (const [name, width, height, colorScheme] of windows) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme });
  const page = await context.newPage();
  let seen = [];
  page.on('request', request => { if (!/^(file|data|blob):/.test(request.url())) seen.push(`asks for ${request.url()}`); });
  page.on('pageerror', error => seen.push(`script: ${error}`));
  for (const file of pages) {
    seen = [];
    await page.goto(pathToFileURL(path.join(site, file)).href, { waitUntil: 'load' });
    await page.evaluate(axe);
    const found = await page.evaluate(async () => (await axe.run(document)).violations);
    seen.push(...found.map(one => `${one.impact}: ${one.id}, ${one.nodes.length} times, ${one.nodes[0].html.slice(0, 120)}`));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (wide > 0) seen.push(`is ${wide} pixels wider than the window`);
    for (const fault of seen) console.log(`${name} ${file}: ${fault}`);
    faults += seen.length;
    const title = file.replace('.html', '');
    if (shown.includes(title)) await page.screenshot({ path: `build/screens/${name}-${title.replaceAll('/', '-')}.png` });
  }
  await context.close();
}
await browser.close();
console.log(`${pages.length} pages in ${windows.length} windows: ${faults} findings`);
process.exit(faults ? 1 : 0);
