#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Opens a page in a browser without a window, at several widths, and says what is wrong with it.

    browser.py PAGE WIDTH...       status 0: nothing is; 1: a line for each fault; 77: no browser here

Chromium or Firefox gets the page from a server of this program, in a frame of each width; a script beside the frames
sends back what it measured. So the page is judged as it is laid out and drawn, and need not know of the test.
"""
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

BROWSERS = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome", "firefox", "firefox-esr")
PATIENCE = 120  # seconds

FRAMES = """<!DOCTYPE html><meta charset="utf-8"><title>frames</title>%s<script>
function measure(frame) {
  const page = frame.contentDocument, root = page.documentElement, wide = root.clientWidth;
  const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.right, r.height]; };
  return {width: frame.clientWidth, wide: wide, scroll: root.scrollWidth, title: page.title,
          heading: page.querySelector("h1") ? box(page.querySelector("h1")) : null,
          images: [...page.images].map(i => ({alt: i.alt, natural: i.complete ? i.naturalWidth : 0, box: box(i)}))};
}
onload = () => fetch("/result", {method: "POST", body: JSON.stringify([...document.querySelectorAll("iframe")].map(measure))});
</script>"""


def serve(page, widths):
    """(server, asked, results, done): what the browser asked for, what it sent, and the event that it has."""
    frames = FRAMES % "".join(f'<iframe src="/page" style="width:{w}px;height:900px;border:0"></iframe>' for w in widths)
    asked, results, done = [], [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = {"/": frames.encode(), "/page": page}.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def do_POST(self):
            results.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, asked, results, done


def command(browser, folder, address):
    if "firefox" in os.path.basename(browser):
        return [browser, "--headless", "--no-remote", "--profile", folder, address]
    # As root Chromium has no sandbox; a container's /dev/shm is small.
    return [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            f"--user-data-dir={folder}", "--remote-debugging-port=0", "--window-size=2000,1000", address]


def look(browser, page, widths):
    """What the browser measured at each width, and all that it asked for."""
    server, asked, results, done = serve(page, widths)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        child = subprocess.Popen(command(browser, folder, f"http://127.0.0.1:{server.server_port}/"), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                                 env=dict(os.environ, HOME=folder))
        done.wait(PATIENCE)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    server.shutdown()
    return results, asked


def faults(seen, count):
    """What is wrong at one width of a page that has count images."""
    at = f"at {seen['width']} px"
    if not seen["heading"] or seen["heading"][2] <= 0 or not seen["title"]:
        yield f"{at}: no heading or no title to be seen"
    if seen["scroll"] > seen["wide"]:
        yield f"{at}: the page is {seen['scroll']} px wide, {seen['wide']} px are there"
    if len(seen["images"]) != count:
        yield f"{at}: {len(seen['images'])} images, the file has {count}"
    for image in seen["images"]:
        left, right, height = image["box"]
        if image["natural"] <= 0:
            yield f"{at}: an image cannot be drawn: {image['alt']}"
        if left < 0 or right > seen["wide"] or height < 20:
            yield f"{at}: an image of {height:.0f} px height from {left:.0f} to {right:.0f} px: {image['alt']}"


def main():
    path, widths = sys.argv[1], [int(w) for w in sys.argv[2:]]
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        print("no browser here: " + ", ".join(BROWSERS))
        sys.exit(77)
    with open(path, "rb") as f:
        page = f.read()
    results, asked = look(browser, page, widths)
    found = [fault for seen in results for fault in faults(seen, page.count(b"<img "))]
    found += [f"the page asks for {a}" for a in sorted(set(asked) - {"/", "/page", "/favicon.ico"})]
    if [r["width"] for r in results] != widths:
        found.append(f"{browser} did not open the page at {widths}")
    print("\n".join(found) or f"{browser}: fine at {', '.join(map(str, widths))} px")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
