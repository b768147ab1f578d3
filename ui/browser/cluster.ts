import { type ChildProcess, spawn } from 'node:child_process'
import { appendFileSync, createReadStream, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execFileSync } from 'node:child_process'

/** Loopback addresses that no other test has. */
const NET = '127.89.7'
const HTTP_PORT = 7948

/** Nodes a1 … a5: real agents, each on an address of its own; and a web server whose files they collect. */
export class Cluster {
  readonly home = mkdtempSync(join(tmpdir(), 'logvine-browser-'))
  private readonly agents = new Map<number, ChildProcess>()
  private readonly binary = process.env.LOGVINE_BIN ?? '../target/debug/logvine'
  private web: Server | undefined
  webUrl = ''

  address = (node: number) => `${NET}.${node}`
  url = (node: number) => `http://${this.address(node)}:${HTTP_PORT}`

  async start() {
    writeFileSync(join(this.home, 'key'), execFileSync(this.binary, ['keygen'], { env: this.environment() }), { mode: 0o600 })
    await this.serve()
    for (let node = 1; node <= 5; node++) this.startNode(node)
    for (let node = 1; node <= 5; node++) await this.until(`a${node} sees five`, async () => (await this.get(node, '/v1/cluster')).nodes_by_status.alive === 5)
  }

  /** Nothing of the caller's own settings. */
  private environment = () => Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('LOGVINE_')))

  startNode(node: number) {
    const dir = join(this.home, `a${node}`)
    mkdirSync(dir, { recursive: true })
    const log = openSync(join(dir, 'log'), 'a')
    const joins = [1, 2].filter((seed) => seed !== node).flatMap((seed) => ['--join', `${NET}.${seed}`])
    const args = [
      'agent', '--name', `a${node}`, '--data-dir', join(dir, 'data'), '--bind', `${NET}.${node}`, '--cluster-key-file', join(this.home, 'key'),
      '--tag', 'all-of-us', ...(node <= 3 ? ['--tag', 'web'] : ['--tag', 'spare']), ...joins,
    ]
    this.agents.set(node, spawn(this.binary, args, { stdio: ['ignore', log, log], env: this.environment() }))
  }

  async kill(node: number) {
    const agent = this.agents.get(node)
    if (!agent) return
    const ended = new Promise((resolve) => agent.once('exit', resolve))
    agent.kill('SIGKILL')
    await ended
    this.agents.delete(node)
  }

  log(name: string, text: string) {
    mkdirSync(join(this.home, 'www'), { recursive: true })
    appendFileSync(join(this.home, 'www', name), text)
  }

  path = (name: string) => join(this.home, name)
  read = (name: string) => {
    try {
      return readFileSync(join(this.home, name), 'utf8')
    } catch {
      return ''
    }
  }

  // eslint-free: answers are read by whoever asks.
  async get(node: number, path: string): Promise<any> {
    const answer = await fetch(this.url(node) + path)
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
    return answer.json()
  }

  async put(node: number, path: string, body: unknown) {
    const answer = await fetch(this.url(node) + path, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
  }

  async until(what: string, holds: () => Promise<boolean>) {
    const end = Date.now() + 120_000
    for (;;) {
      if (await holds().catch(() => false)) return
      if (Date.now() > end) throw new Error(`it never came about that ${what}; the logs are in ${this.home}`)
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }

  async stop() {
    for (const node of [...this.agents.keys()]) await this.kill(node)
    this.web?.closeAllConnections()
    this.web?.close()
    rmSync(this.home, { recursive: true, force: true })
  }

  /** Files by Range, as any web server has them. */
  private async serve() {
    const web = createServer((request, answer) => {
      const file = join(this.home, 'www', (request.url ?? '/').replace(/[^\w.-]/g, ''))
      let size
      try {
        size = statSync(file).size
      } catch {
        return answer.writeHead(404).end()
      }
      const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
      const from = range ? Number(range[1]) : 0
      const to = range?.[2] ? Math.min(Number(range[2]), size - 1) : size - 1
      if (from >= size) return answer.writeHead(range ? 416 : 200, { 'content-range': `bytes */${size}`, 'content-length': 0 }).end()
      const headers = { 'accept-ranges': 'bytes', 'content-length': to - from + 1, ...(range ? { 'content-range': `bytes ${from}-${to}/${size}` } : {}) }
      answer.writeHead(range ? 206 : 200, headers)
      if (request.method === 'HEAD') return answer.end()
      return createReadStream(file, { start: from, end: to }).pipe(answer)
    })
    await new Promise<void>((resolve) => web.listen(0, `${NET}.9`, resolve))
    const address = web.address()
    this.web = web
    this.webUrl = `http://${NET}.9:${typeof address === 'object' && address ? address.port : 0}`
  }
}
