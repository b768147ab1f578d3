import { expect, test } from '@playwright/test'
import { alive, confirm, row, startCluster } from './journeys'

const cluster = startCluster()

test('a node is seen to die and to come back', async ({ page }) => {
  await page.goto(`${cluster.url(1)}/machines`)
  await expect(row(page, 'a5').getByText('alive')).toBeVisible()
  await cluster.kill(5)
  await expect(row(page, 'a5').getByText('down')).toBeVisible()
  cluster.startNode(5)
  await expect(row(page, 'a5').getByText('alive')).toBeVisible()
  await cluster.until('five live', alive(cluster, 1, 5))
})

test('a dead node is forgotten, and is there again when it lives after all', async ({ page }) => {
  await cluster.kill(5)
  await cluster.until('a5 is down', alive(cluster, 1, 4))
  await page.goto(`${cluster.url(1)}/machines`)
  await row(page, 'a5').getByRole('button', { name: 'Forget a5', exact: true }).click()
  const dialog = page.getByRole('dialog')
  await expect(dialog.getByText('The others forget what it said of itself')).toBeVisible()
  await dialog.locator('button[type=submit]').click()
  await expect(row(page, 'a5')).toHaveCount(0)
  expect((await cluster.get(3, '/v1/cluster')).nodes).toBe(4)
  cluster.startNode(5)
  await cluster.until('five live', alive(cluster, 1, 5))
  await page.goto(`${cluster.url(1)}/machines`)
  await expect(row(page, 'a5').getByText('alive')).toBeVisible()
})

test('a node is drained and undrained from the list of machines, and what may not be done there says why', async ({ page }) => {
  await page.goto(`${cluster.url(1)}/machines`)
  const of = (verb: string) => row(page, 'a4').getByRole('button', { name: `${verb} a4`, exact: true })
  await expect(of('Forget')).toHaveAttribute('aria-description', 'Only a node that is down or has left can be forgotten.')
  await of('Drain').click()
  const dialog = page.getByRole('dialog')
  await expect(dialog.getByText('Its movable sources are handed over')).toBeVisible()
  await confirm(page, 1)
  await expect(dialog.getByText('applied', { exact: true })).toBeVisible()
  await dialog.getByRole('button', { name: 'Close' }).last().click()
  await of('Undrain').click()
  await confirm(page, 1)
  await expect(dialog.getByText('applied', { exact: true })).toBeVisible()
  await dialog.getByRole('button', { name: 'Close' }).last().click()
  await expect(of('Drain')).toBeVisible()
})

test('a tag is moved from one node to another, and what is no tag is refused with the reason', async ({ page }) => {
  const setTags = async (node: string, text: string) => {
    await page.goto(`${cluster.url(2)}/machines/${node}`)
    await page.getByRole('button', { name: 'Edit tags' }).click()
    await page.getByRole('textbox', { name: 'Tags' }).fill(text)
    await page.getByRole('dialog').getByRole('button', { name: 'Next' }).click()
  }
  await setTags('a4', 'all-of-us Moved')
  await expect(page.getByText('`Moved` cannot be a tag')).toBeVisible()
  await expect(page.getByRole('textbox', { name: 'Tags' })).toHaveValue('all-of-us Moved')
  for (const [node, text] of [['a4', 'all-of-us moved'], ['a4', 'all-of-us'], ['a5', 'all-of-us moved']] as const) {
    await setTags(node, text)
    await confirm(page, 1)
    await expect(page.getByRole('dialog').getByText('applied')).toBeVisible()
  }
  // In the list of machines they are edited in their place.
  await page.goto(`${cluster.url(2)}/machines?name=a5`)
  await page.getByRole('button', { name: 'Edit tags of a5' }).click()
  await expect(page.getByRole('textbox', { name: 'Tags' })).toHaveValue('all-of-us moved')
  await page.keyboard.press('Escape')
  await page.goto(`${cluster.url(2)}/tags`)
  await expect(row(page, 'moved').getByText('a5')).toBeVisible()
  await expect(row(page, 'moved').getByText('a4')).toHaveCount(0)
})

test('who edits tags that another has changed meanwhile is told, and what was typed stays', async ({ page }) => {
  await page.goto(`${cluster.url(2)}/machines?name=a4`)
  await page.getByRole('button', { name: 'Edit tags of a4' }).click()
  const field = page.getByRole('textbox', { name: 'Tags' })
  await field.fill('all-of-us mine')
  expect((await page.request.put(`${cluster.url(1)}/v1/nodes/a4/tags`, { data: { tags: ['all-of-us', 'theirs'] } })).status()).toBe(200)
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('button', { name: 'Next' }).click()
  await confirm(page, 1)
  await expect(dialog.getByText('It was changed meanwhile')).toBeVisible()
  await page.screenshot({ path: 'screenshots/tags-conflict.png' })
  await expect(page.locator('main').getByText('all-of-us, theirs')).toBeVisible()
  await dialog.getByRole('button', { name: 'Cancel' }).click()
  await expect(field).toHaveValue('all-of-us mine')
  // What would go is told: the other's tag with it.
  await dialog.getByRole('button', { name: 'Next' }).click()
  await expect(dialog.getByText('all-of-us, theirs → all-of-us, mine')).toBeVisible()
  await confirm(page, 1)
  await expect(dialog.getByText('applied')).toBeVisible()
})

test('the node that serves the page is killed: the page says so and goes on at the same place on another', async ({ page }) => {
  await page.goto(`${cluster.url(5)}/runners/fleet`)
  await expect(page.getByText('live', { exact: true })).toBeVisible()
  await expect(page.getByRole('heading', { name: 'fleet' })).toBeVisible()
  // These nodes want no token; one that a page has must go nowhere by itself.
  await page.evaluate(() => sessionStorage.setItem('logvine.token', 'a-secret'))
  const sent: string[] = []
  page.on('request', (request) => sent.push(`${request.url()} ${request.headers().authorization ?? ''}`))
  const writing = await page.context().newPage()
  await writing.goto(`${cluster.url(5)}/create`)
  await writing.getByRole('textbox', { name: 'Name', exact: true }).fill('half-typed')
  await expect(writing.getByText('live', { exact: true })).toBeVisible()
  await cluster.kill(5)
  await expect(page.getByRole('alert').filter({ hasText: 'a5 does not answer' })).toBeVisible()
  await page.waitForURL(/127\.89\.7\.[1-4]:7948\/runners\/fleet/)
  await expect(page.getByText('a5 stopped answering.')).toBeVisible()
  await expect(page.getByRole('heading', { name: 'fleet' })).toBeVisible()
  expect(await page.evaluate(() => sessionStorage.getItem('logvine.token'))).toBeNull()
  expect(sent.filter((request) => request.includes('a-secret') && !request.startsWith(cluster.url(5)))).toEqual([])
  // Whoever is typing is told, and left where it is kept.
  const alert = writing.getByRole('alert').filter({ hasText: 'a5 does not answer' })
  await expect(alert.getByText('What you have typed is kept in this tab')).toBeVisible()
  await expect(alert.getByRole('button', { name: 'Go now' })).toBeVisible()
  await writing.screenshot({ path: 'screenshots/lost.png' })
  await expect(writing.getByRole('textbox', { name: 'Name', exact: true })).toHaveValue('half-typed')
  expect(writing.url()).toBe(`${cluster.url(5)}/create`)
  await writing.close()
})

test('a tag is renamed', async ({ page }) => {
  await page.goto(`${cluster.url(1)}/tags`)
  await row(page, 'web').getByRole('button', { name: 'Rename' }).click()
  await page.getByLabel('New name of').fill('front')
  await page.getByRole('dialog').getByRole('button', { name: 'Next' }).click()
  await confirm(page, 3)
  await page.getByRole('dialog').getByRole('button', { name: 'Close' }).last().click()
  await expect(row(page, 'front').getByText('a1, a2, a3')).toBeVisible()
  await expect(row(page, 'web')).toHaveCount(0)
})
