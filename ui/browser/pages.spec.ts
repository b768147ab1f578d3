import { mkdirSync } from 'node:fs'
import { expect, test } from '@playwright/test'
import { row, startCluster, violations } from './journeys'

const cluster = startCluster()

const PAGES = [
  ['overview', '/', 'Live events'],
  ['machines', '/machines', 'a5'],
  ['machine', '/machines/a1', 'Addresses'],
  ['tags', '/tags', 'spare'],
  ['runners', '/runners', 'fleet'],
  ['instances', '/runners?show=instances', 'a1'],
  ['runner', '/runners/fleet', 'web-3'],
  ['create', '/create', 'What to read'],
  ['edit', '/runners/fleet/edit', 'Save'],
  ['sources', '/sources', 'web-3'],
  ['map', '/sources?show=map', 'a1'],
  ['plan', '/sources?show=plan', 'What happens'],
  ['source', '/sources/fleet/web-3', 'Witnesses'],
  ['operations', '/operations', 'fleet'],
] as const

for (const [name, path, there] of PAGES)
  test(`${name} is whole and accessible, light and dark, wide and narrow`, async ({ page }) => {
    await page.goto(cluster.url(1) + path)
    await expect(page.locator('main').getByText(there).first()).toBeVisible()
    await expect(page.locator('header').getByText('live', { exact: true })).toBeVisible()
    mkdirSync('screenshots', { recursive: true })
    for (const [scheme, width] of [['light', 1280], ['dark', 1280], ['light', 400], ['dark', 400]] as const) {
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' })
      await page.setViewportSize({ width, height: 900 })
      await expect(page.locator('html')).toHaveAttribute('data-mantine-color-scheme', scheme)
      await page.screenshot({ path: `screenshots/${name}-${scheme}-${width}.png`, fullPage: true })
      // Nothing sticks out: a page never scrolls sideways.
      expect(await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth), `${scheme} ${width}`).toBeLessThanOrEqual(0)
      expect(await violations(page), `${scheme} ${width}`).toEqual([])
    }
  })

test('the console speaks Chinese too, on every page', async ({ page }) => {
  await page.goto(`${cluster.url(1)}/machines`)
  await page.getByLabel('Language').selectOption('zh')
  await expect(page.getByRole('heading', { name: '机器' })).toBeVisible()
  await page.reload()
  for (const [name, path] of PAGES) {
    await page.goto(cluster.url(1) + path)
    await expect(page.locator('header').getByText('实时', { exact: true })).toBeVisible()
    await expect(page.getByRole('heading', { level: 1 })).toBeVisible()
    await expect(page.locator('main').getByText('加载中…')).toHaveCount(0)
    await page.screenshot({ path: `screenshots/${name}-chinese.png`, fullPage: true })
    expect(await page.evaluate(() => document.documentElement.lang)).toBe('zh')
  }
  // So is what the API says of a runner's fields.
  await page.goto(`${cluster.url(1)}/create`)
  await expect(page.getByText('跟踪节点本机的文件。')).toBeVisible()
  // What nodes write is told in Chinese, too: events, and why a source is where it is.
  await page.goto(`${cluster.url(1)}/sources/fleet/web-3`)
  const owner = page.getByRole('main').getByText(/^(新增：此前没有归属|接管自 |回归首位节点：|由.* (让出|移交)$|恢复：|收回：)/)
  await expect(owner.first()).toBeVisible()
  await page.goto(cluster.url(1))
  await expect(page.getByRole('listitem').filter({ hasText: /member\.\w+\s*a\d (存活|可疑|宕机)/ }).first()).toBeVisible()
})

test('the keyboard reaches the content, and a node, without a mouse', async ({ page }) => {
  await page.goto(`${cluster.url(1)}/machines`)
  await expect(row(page, 'a5')).toBeVisible()
  await page.keyboard.press('Tab')
  await expect(page.getByRole('link', { name: 'Skip to the content' })).toBeFocused()
  await page.getByRole('link', { name: 'a5' }).focus()
  await page.keyboard.press('Enter')
  await expect(page.getByRole('heading', { name: 'a5' })).toBeVisible()
})

test('an event names its node and leads there', async ({ page }) => {
  await page.goto(cluster.url(1))
  const told = page.getByRole('listitem').filter({ hasText: /member\.\w+\s*a\d is \w+/ })
  const link = told.getByRole('link', { name: /^a\d$/ }).first()
  const name = (await link.textContent()) ?? ''
  await expect(link).toHaveAttribute('href', new RegExp(`^/machines/${(await cluster.get(1, `/v1/nodes/${name}`)).id}$`))
})

test('ten thousand sources scroll: only those in sight are drawn, and a name is found among all', async ({ page }) => {
  const name = (at: number) => `s-${String(at).padStart(4, '0')}`
  await page.route('**/v1/sources?**', (route) => {
    const query = new URL(route.request().url()).searchParams
    const [from, limit] = [Number(query.get('cursor') ?? 0), Number(query.get('limit'))]
    const items = Array.from({ length: Math.min(limit, 10_000 - from) }, (_, at) => ({
      runner: 'fleet', id: name(from + at), url: `http://example.test/${name(from + at)}`, from: 'spec', state: 'collected', witnesses: [], owner: 'x', owner_name: 'a1', why: 'added',
    }))
    return route.fulfill({ json: { items, next_cursor: from + limit < 10_000 ? String(from + limit) : null } })
  })
  await page.goto(`${cluster.url(1)}/sources`)
  const table = page.getByRole('table', { name: 'Sources' })
  await expect(table.getByText(name(0), { exact: true })).toBeVisible()
  // Meanwhile the cluster is busy: each command is an event that makes the list old.
  let scrolls = true
  const commands = (async () => {
    for (let at = 0; scrolls; at++) {
      await cluster.put(1, '/v1/runners/busy', {
        name: 'busy', placement: { every: 'spare' }, reader: { type: 'file', paths: [cluster.path(`busy-${at}`)] },
        senders: [{ name: 'out', type: 'file', path: cluster.path('busy.ndjson') }],
      })
    }
  })()
  await expect(async () => {
    await table.press('End')
    await expect(table.getByText(name(9999), { exact: true })).toBeVisible({ timeout: 1000 })
  }).toPass({ timeout: 90_000 })
  scrolls = false
  await commands
  await expect(table).toHaveAttribute('aria-rowcount', '10001')
  expect(await table.getByRole('row').count()).toBeLessThan(100)
  await table.press('Home')
  await expect(table.getByText(name(0), { exact: true })).toBeVisible()
  await page.reload()
  await page.getByLabel('Name contains').fill('s-8765')
  await expect(row(page, 's-8765')).toBeVisible()
  await expect(table).toHaveAttribute('aria-rowcount', '2')
})

test('a filter is in the address: over a reload, by the menu and back', async ({ page }) => {
  await page.goto(`${cluster.url(1)}/runners?show=instances`)
  const field = page.getByLabel('Nodes (selection)')
  await field.fill('name=a2')
  await field.press('Enter')
  await expect(page).toHaveURL(/nodes=name/)
  const nodes = (name: string) => page.getByRole('row').filter({ has: page.getByRole('cell', { name, exact: true }) })
  await expect(nodes('a2').first()).toBeVisible()
  await expect(nodes('a1')).toHaveCount(0)
  await page.reload()
  await expect(field).toHaveValue('name=a2')
  await page.getByRole('link', { name: 'Runners', exact: true }).first().click()
  await expect(page).not.toHaveURL(/nodes=/)
  await expect(field).toHaveValue('')
  await page.goBack()
  await expect(field).toHaveValue('name=a2')
  await expect(nodes('a1')).toHaveCount(0)
})

test('what cannot be loaded says so and is tried again, and what is old says how old', async ({ page }) => {
  const list = '**/v1/sources?**'
  await page.route(list, (route) => route.fulfill({ status: 503, json: { type: 'urn:x', title: 'Not now', status: 503, detail: 'the disk is full', action: 'Make room.' } }))
  await page.goto(`${cluster.url(1)}/sources`)
  const alert = page.getByRole('alert').filter({ hasText: 'the disk is full' })
  await expect(alert.getByText('Make room.')).toBeVisible()
  await page.screenshot({ path: 'screenshots/failed.png' })
  expect(await violations(page), 'a failure').toEqual([])
  const again = page.waitForRequest(list)
  await alert.getByRole('button', { name: 'Try again' }).click()
  await again
  // The page goes on trying by itself, so the button may be gone as soon as the list can be had.
  await page.unroute(list)
  await expect(row(page, 'web-0')).toBeVisible()
  await page.route(list, (route) => route.abort())
  await expect(page.getByText(/^Shown as it was .* ago: the last look failed/)).toBeVisible()
  await expect(row(page, 'web-0')).toBeVisible()
  await page.screenshot({ path: 'screenshots/stale.png' })
  expect(await violations(page), 'old data').toEqual([])
})
