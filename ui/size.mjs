// Builds the console aside and weighs its JavaScript: 260 KiB by gzip is what a slow link bears.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const MOST = 260 * 1024
const out = mkdtempSync(join(tmpdir(), 'logvine-ui-'))
try {
  execFileSync('npm', ['run', '--silent', 'build', '--', '--logLevel', 'warn'], { env: { ...process.env, LOGVINE_UI_OUT: out }, stdio: 'inherit' })
  const assets = join(out, 'assets')
  const sum = readdirSync(assets).filter((name) => name.endsWith('.js.gz')).reduce((sum, name) => sum + statSync(join(assets, name)).size, 0)
  console.log(`JavaScript: ${(sum / 1024).toFixed(1)} KiB by gzip, of ${MOST / 1024} at most`)
  if (sum === 0 || sum > MOST) process.exitCode = 1
} finally {
  rmSync(out, { recursive: true, force: true })
}
