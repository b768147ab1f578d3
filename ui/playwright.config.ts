import { defineConfig } from '@playwright/test'

/** The journeys of issue 7 in Debian's Chromium, against a real cluster of five agents that `browser/cluster.ts` starts. */
export default defineConfig({
  testDir: 'browser',
  // One cluster, whose nodes die and come back: one journey at a time.
  workers: 1,
  fullyParallel: false,
  retries: 0,
  // A slow machine is no fault: only what never comes about is.
  timeout: 300_000,
  expect: { timeout: 60_000 },
  reporter: 'list',
  outputDir: 'test-results',
  use: {
    launchOptions: {
      executablePath: process.env.LOGVINE_CHROMIUM ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    },
    viewport: { width: 1280, height: 900 },
    locale: 'en-GB',
    // Nothing fades in: what is on the page is judged and pictured as it stays.
    contextOptions: { reducedMotion: 'reduce' },
  },
})
