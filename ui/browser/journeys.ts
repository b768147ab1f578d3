import AxeBuilder from '@axe-core/playwright'
import { expect, type Page, test } from '@playwright/test'
import { Cluster } from './cluster'

export const SOURCES = 12

/** A cluster for the journeys of one file, with a runner that collects from three of its nodes. It starts before the first of them. */
export function startCluster(): Cluster {
  const cluster = new Cluster()
  test.beforeAll(async () => {
    test.setTimeout(600_000)
    await cluster.start()
    for (let at = 0; at < SOURCES; at++) cluster.log(`web-${at}`, `first line of ${at}\n`)
    const sources = Array.from({ length: SOURCES }, (_, at) => ({ id: `web-${at}`, url: `${cluster.webUrl}/web-${at}` }))
    await cluster.put(1, '/v1/runners/fleet', {
      name: 'fleet', placement: { spread: 'web' }, reader: { type: 'http', poll_ms: 200 }, sources, senders: [{ name: 'out', type: 'file', path: cluster.path('{node}.ndjson') }],
    })
    await cluster.until('all sources are collected', async () => (await cluster.get(1, '/v1/cluster')).sources_by_state.collected === SOURCES)
  })
  test.afterAll(() => cluster.stop())

  const errors: string[] = []
  test.beforeEach(({ page }) => {
    errors.length = 0
    page.on('console', (message) => {
      if (/Content.Security|Refused to/.test(message.text())) errors.push(message.text())
    })
    page.on('pageerror', (error) => errors.push(String(error)))
  })
  // What a browser refuses under the page's policy, and what breaks in it, is a fault whatever the page looks like.
  test.afterEach(() => expect(errors).toEqual([]))
  return cluster
}

/** Whether a node sees so many alive. */
export const alive = (cluster: Cluster, node: number, n: number) => async () => (await cluster.get(node, '/v1/cluster')).nodes_by_status.alive === n

export const row = (page: Page, name: string | RegExp) => page.getByRole('row').filter({ has: page.getByRole('cell', { name }) })

/** Confirms a deed that concerns `n` nodes. */
export async function confirm(page: Page, n: number) {
  const dialog = page.getByRole('dialog')
  await expect(dialog.getByText(n === 1 ? '1 target' : `${n} targets`, { exact: true })).toBeVisible()
  if (n > 1) await dialog.getByLabel(`Type ${n} to confirm`).fill(String(n))
  await dialog.locator('button[type=submit]').click()
}

/** What axe finds against WCAG 2.2 AA. */
export async function violations(page: Page) {
  const found = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']).analyze()
  return found.violations.map((violation) => `${violation.id}: ${violation.nodes.map((node) => node.html).join(' | ')}`)
}
