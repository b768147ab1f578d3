import { expect, test } from '@playwright/test'
import { startCluster, violations } from './journeys'

const cluster = startCluster()

test('a source that no node bears is told, and what to do about it', async ({ page }) => {
  // A real one would need a machine at its limit: the answer is one of a node that has it.
  await page.route('**/v1/assignments/check', (route) =>
    route.fulfill({ json: { items: [
      { kind: 'unsplittable', wrong: true, runner: 'fleet', source: 'web-3', detail: 'too large for any node but its owner, which it overloads: split it, or add a larger node' },
      { kind: 'two_owners', wrong: true, runner: 'fleet', source: 'web-4', detail: 'claimed by a1 and a2' },
    ], next_cursor: null } }),
  )
  await page.goto(`${cluster.url(1)}/sources?show=map`)
  await expect(page.getByText('split it, or add a larger node').first()).toBeVisible()
  await expect(page.getByRole('table', { name: 'Too large to move' }).getByRole('link', { name: 'fleet/web-3' })).toBeVisible()
  await expect(page.getByRole('table', { name: 'What is wrong, or waits' }).getByRole('link', { name: 'fleet/web-4' })).toBeVisible()
  await page.screenshot({ path: 'screenshots/giants.png', fullPage: true })
  expect(await violations(page), 'giants').toEqual([])
})

test('a plan shows what would move if a node died, before and after', async ({ page }) => {
  await page.goto(`${cluster.url(1)}/sources?show=plan`)
  await page.getByRole('button', { name: 'Show' }).click()
  await expect(page.getByText('Choose a node.')).toBeVisible()
  await page.getByLabel('Node', { exact: true }).selectOption({ label: 'a2' })
  await page.getByRole('button', { name: 'Show' }).click()
  await expect(page.getByRole('paragraph').filter({ hasText: /^(1 source moves|\d+ sources move)$/ })).toBeVisible()
  await expect(page.getByRole('list', { name: 'before / after' })).toContainText('→ 0')
  await page.screenshot({ path: 'screenshots/planned.png', fullPage: true })
  expect(await violations(page), 'a plan').toEqual([])
})

test('a plan shows what would move if nodes joined', async ({ page }) => {
  await page.goto(`${cluster.url(1)}/sources?show=plan`)
  await page.getByLabel('What happens').selectOption('joins')
  await page.getByLabel('How many').fill('2')
  await page.getByLabel('Tags').fill('web')
  await page.getByRole('button', { name: 'Show' }).click()
  await expect(page.getByRole('paragraph').filter({ hasText: /^(1 source moves|\d+ sources move|Everything stays where it is\.)$/ })).toBeVisible()
  await expect(page.getByRole('list', { name: 'before / after' })).toContainText('joiner-2')
  await page.getByLabel('Tags').fill('Web')
  await page.getByRole('button', { name: 'Show' }).click()
  await expect(page.getByRole('alert')).toContainText('Web')
})
