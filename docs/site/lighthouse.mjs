// Runs Lighthouse's accessibility audits on HTML files, as a phone and as a desktop: node docs/site/lighthouse.mjs FILE…
// `make check-site` does so for the start page and for a report. Exit code 1 below 95 of 100.

import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { createRequire } from 'node:module';

const tools = createRequire(path.resolve('build/axe/package.json'));
const load = async name => import(pathToFileURL(tools.resolve(name)).href);
const { default: lighthouse, desktopConfig } = await load('lighthouse');
const { launch } = await load('chrome-launcher');
const least = 95;

const kinds = { '.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript', '.svg': 'image/svg+xml', '.png': 'image/png' };
const server = http.createServer((request, response) => {
  const file = path.join(process.cwd(), decodeURIComponent(new URL(request.url, 'http://x').pathname));
  if (!fs.existsSync(file) || fs.statSync(file).isDirectory()) { response.writeHead(404).end(); return; }
  response.writeHead(200, { 'content-type': kinds[path.extname(file)] ?? 'application/octet-stream' });
  fs.createReadStream(file).pipe(response);
});
await new Promise(ready => server.listen(0, '127.0.0.1', ready));
const chrome = await launch({
  chromePath: process.env.CHROMIUM ?? '/usr/bin/chromium', chromeFlags: ['--headless=new', '--no-sandbox'],
});
let faults = 0;
for (const file of process.argv.slice(2)) {
  const url = `http://127.0.0.1:${server.address().port}/${path.relative(process.cwd(), path.resolve(file))}`;
  for (const [device, config] of [['phone', undefined], ['desktop', desktopConfig]]) {
    const { lhr } = await lighthouse(url, { port: chrome.port, onlyCategories: ['accessibility'], logLevel: 'error' }, config);
    const score = Math.round(100 * lhr.categories.accessibility.score);
    const failed = Object.values(lhr.audits).filter(one => one.score === 0).map(one => one.id);
    console.log(`Lighthouse ${lhr.lighthouseVersion}, ${device} ${file}: accessibility ${score}${failed.map(id => `, ${id}`).join('')}`);
    if (score < least) faults += 1;
  }
}
chrome.kill();
server.close();
process.exit(faults ? 1 : 0);
