import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import react from '@vitejs/plugin-react'
import { defineConfig, type Plugin } from 'vite'

const out = process.env.LOGVINE_UI_OUT ?? 'dist'

/** Puts `x.js.gz` beside `x.js`: a node serves what was compressed once. */
const gzip: Plugin = {
  name: 'gzip',
  closeBundle() {
    const assets = join(out, 'assets')
    for (const name of readdirSync(assets)) {
      const bytes = readFileSync(join(assets, name))
      const small = gzipSync(bytes, { level: 9 })
      if (small.length < bytes.length) writeFileSync(join(assets, `${name}.gz`), small)
    }
  },
}

export default defineConfig({
  plugins: [react(), gzip],
  // The node puts a fresh one in its place with each answer (`logvine_ui::page`).
  html: { cspNonce: '__NONCE__' },
  build: { outDir: out, emptyOutDir: true, assetsInlineLimit: 0, reportCompressedSize: false },
  // `npm run dev` shows a node that runs already; its address is the third of a usual agent.
  server: { proxy: { '/v1': process.env.LOGVINE_API ?? 'http://127.0.0.1:7948' } },
  test: { include: ['src/**/*.test.ts'] },
} as Parameters<typeof defineConfig>[0])
