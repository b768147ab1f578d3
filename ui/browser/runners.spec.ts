import { expect, test } from '@playwright/test'
import { SOURCES, alive, confirm, row, startCluster, violations } from './journeys'

const cluster = startCluster()

test('a runner is created with the guide, and its records arrive', async ({ page }) => {
  cluster.log('guided', 'a line for the guide\n')
  await page.goto(`${cluster.url(3)}/create`)
  await page.getByRole('button', { name: 'Check and save' }).click()
  await expect(page.getByText('Needed: Name.')).toBeVisible()
  await page.getByRole('button', { name: 'What to read' }).click()
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('guided')
  await page.getByLabel('Reader').selectOption('http')
  await page.getByLabel('Sources, one a line').fill(`one ${cluster.webUrl}/guided`)
  await page.getByRole('button', { name: 'Next' }).click()
  await page.getByLabel('On which node').selectOption({ label: 'a2' })
  await page.getByRole('button', { name: 'Read a sample there' }).click()
  await expect(page.getByLabel('Lines', { exact: true })).toHaveValue('a line for the guide')
  await page.getByLabel('VRL program').fill('.seen = ')
  await expect(page.getByRole('alert').filter({ hasText: 'does not compile' })).toBeVisible()
  await page.getByLabel('VRL program').fill('.seen = true')
  const made = page.getByRole('list', { name: 'What becomes of each line' })
  await expect(made).toContainText('"seen": true')
  await expect(made).toContainText('"node": "a2"')
  await page.screenshot({ path: 'screenshots/try.png', fullPage: true })
  expect(await violations(page), 'a trial').toEqual([])
  await page.getByRole('button', { name: 'Next' }).click()
  await page.getByLabel('File on the node that sends').fill(cluster.path('guided.ndjson'))
  // What is typed outlives a reload.
  await page.reload()
  await page.getByRole('button', { name: 'Where it runs' }).click()
  // What a URL wants was chosen with the reader.
  await expect(page.getByLabel('How')).toHaveValue('spread')
  await page.getByLabel('Selection of nodes').fill('web')
  await page.getByRole('button', { name: 'Next' }).click()
  await expect(page.getByRole('heading', { name: 'Nodes that will run it (3)' })).toBeVisible()
  await page.getByRole('button', { name: 'Check the senders' }).click()
  await expect(page.getByText('Every sender reaches its sink.')).toBeVisible()
  await page.getByRole('button', { name: 'Save', exact: true }).click()
  await expect(page.getByRole('heading', { name: 'Saved.' })).toBeVisible()
  await cluster.until('the line is written', async () => cluster.read('guided.ndjson').includes('a line for the guide'))
  await page.getByRole('button', { name: 'Close' }).click()
  await expect(page.getByRole('heading', { name: 'guided' })).toBeVisible()
})

test('a runner is added to a tag', async ({ page }) => {
  cluster.log('added', 'a line for all of a tag\n')
  await page.goto(`${cluster.url(2)}/tags`)
  await row(page, /^web$/).getByRole('link', { name: 'Add a runner' }).click()
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('added')
  await page.getByLabel('Reader').selectOption('http')
  await page.getByLabel('Sources, one a line').fill(`one ${cluster.webUrl}/added`)
  await page.getByRole('button', { name: 'Where records go' }).click()
  await page.getByLabel('File on the node that sends').fill(cluster.path('added.ndjson'))
  await page.getByRole('button', { name: 'Next' }).click()
  await expect(page.getByLabel('Selection of nodes')).toHaveValue('web')
  await page.getByRole('button', { name: 'Next' }).click()
  await expect(page.getByRole('heading', { name: 'Nodes that will run it (3)' })).toBeVisible()
  await page.getByRole('button', { name: 'Save', exact: true }).click()
  await expect(page.getByRole('heading', { name: 'Saved.' })).toBeVisible()
  await cluster.until('the line is written', async () => cluster.read('added.ndjson').includes('a line for all of a tag'))
  await page.goto(`${cluster.url(2)}/tags`)
  await expect(row(page, /^web$/)).toContainText('added')
  expect((await page.request.delete(`${cluster.url(2)}/v1/runners/added`)).status()).toBe(200)
})

test('each component that a node has can be had by the guide, with its own fields', async ({ page }) => {
  await page.goto(`${cluster.url(1)}/create`)
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('by-schema')
  await page.getByLabel('Reader').selectOption('syslog')
  await expect(page.getByLabel('Sources, one a line')).toHaveCount(0)
  await page.getByLabel('udp', { exact: true }).fill('127.0.0.1:0')
  await page.getByText('3 more settings').click()
  await page.getByLabel('connections_max').fill('many')
  await page.getByRole('button', { name: 'Next' }).click()
  await page.getByLabel('Parse').selectOption('grok')
  await page.getByLabel('Pattern', { exact: false }).first().fill('%{IP:client} %{LOGLEVEL:level} %{NUMBER:took:float}')
  await page.getByLabel('Field with the level').fill('level')
  await page.getByRole('button', { name: 'Next' }).click()
  const kind = page.getByLabel('Kind')
  await kind.selectOption('loki')
  await page.getByLabel('URL').fill('http://127.0.0.1:1')
  await page.getByText(/\d more settings/).click()
  await page.getByLabel('Labels').fill('job = {runner}\nno pair')
  // What this build lacks cannot be chosen, and the reason stands there.
  await expect(kind.locator('option', { hasText: 'nats – not in this build' })).toHaveAttribute('disabled')
  await expect(page.getByText('nats: this build lacks the feature `nats`')).toBeVisible()
  await page.evaluate(() => window.scrollTo(0, 0))
  await page.screenshot({ path: 'screenshots/guide.png', fullPage: true })
  expect(await violations(page), 'the guide').toEqual([])
  await page.getByRole('button', { name: 'Next' }).click()
  await page.getByLabel('Selection of nodes').fill('web')
  await page.getByRole('button', { name: 'Next' }).click()
  await expect(page.getByText('This is no number: write digits alone.')).toBeVisible()
  await expect(page.getByText('Line 2 is no `name = text`')).toBeVisible()
  // Nothing that was typed is lost by being wrong, nor by a reload.
  await page.reload()
  await expect(page.getByLabel('connections_max')).toHaveValue('many')
  await page.getByLabel('connections_max').fill('64')
  await page.getByRole('button', { name: 'Where records go' }).click()
  await expect(page.getByLabel('Labels')).toHaveValue('job = {runner}\nno pair')
  await page.getByLabel('Labels').fill('job = {runner}')
  await page.getByRole('tab', { name: 'Raw' }).click()
  const written = JSON.parse(await page.getByLabel('As it is written').inputValue()) as Record<string, unknown>
  expect(written).toEqual({
    name: 'by-schema', placement: { every: 'web' }, reader: { type: 'syslog', udp: '127.0.0.1:0', connections_max: 64 },
    parse: { type: 'grok', pattern: '%{IP:client} %{LOGLEVEL:level} %{NUMBER:took:float}', severity: 'level' },
    senders: [{ type: 'loki', name: 'out', url: 'http://127.0.0.1:1', labels: { job: '{runner}' } }],
  })
  await page.getByRole('button', { name: 'Check', exact: true }).click()
  await expect(page.getByRole('heading', { name: 'Nodes that will run it (3)' })).toBeVisible()
  await page.getByRole('button', { name: 'Throw away' }).click()
})

test('records are seen as they pass', async ({ page }) => {
  await page.goto(`${cluster.url(2)}/runners/fleet`)
  await page.getByRole('button', { name: 'Watch', exact: true }).click()
  const records = page.getByRole('list', { name: 'Live records' })
  // A tap shows what passes while it is open, and nobody hears when it is: lines come until one is seen.
  await expect(async () => {
    cluster.log('web-0', 'a line that is watched\n')
    await expect(records).toContainText('a line that is watched', { timeout: 1000 })
  }).toPass({ timeout: 60_000 })
  await expect(records).toContainText('web-0')
  await page.screenshot({ path: 'screenshots/tap.png', fullPage: true })
  expect(await violations(page), 'records').toEqual([])
  await page.getByRole('button', { name: 'Stop watching' }).click()
  await expect(page.getByRole('button', { name: 'Watch', exact: true })).toBeVisible()
})

test('a runner tells how it did, what fails at which stage, and what came when', async ({ page }) => {
  cluster.log('odd', 'no json\n')
  await cluster.put(1, '/v1/runners/odd', {
    name: 'odd', placement: { spread: 'web' }, reader: { type: 'http', poll_ms: 200 }, sources: [{ id: 'odd', url: `${cluster.webUrl}/odd` }], parse: { type: 'json' },
    senders: [{ name: 'out', type: 'file', path: cluster.path('odd.ndjson') }],
  })
  const failing = async () => {
    const rows = (await cluster.get(1, '/v1/instances?runner=odd')).items as { errors: number }[]
    return rows.some((row) => row.errors > 0)
  }
  await cluster.until('a line fails to parse', failing)
  await page.goto(`${cluster.url(1)}/runners/odd`)
  // The page begins with the instance that has most errors.
  await expect(page.getByRole('table', { name: 'Errors by stage' })).toContainText('json: not one JSON object')
  await expect(page.getByRole('table', { name: 'Senders' })).toContainText('out')
  await page.goto(`${cluster.url(1)}/runners/fleet`)
  await expect(page.getByRole('img', { name: /^Bytes\/s: now .*, least .*, most / })).toBeVisible()
  await page.getByLabel('Measure').selectOption('running')
  await expect(page.getByRole('img', { name: /^Running instances: now \d, / })).toBeVisible()
  await page.screenshot({ path: 'screenshots/trends.png', fullPage: true })
  await page.goto(`${cluster.url(1)}/sources?show=map`)
  await expect(page.getByRole('table', { name: 'Moves, the latest first' })).toContainText('odd')
  await expect(page.getByRole('img', { name: /moves? on \d nodes? within the hour/ })).toBeVisible()
})

test('what was read is read again, once it was seen how much that is', async ({ page }) => {
  const sources = [0, 1].map((at) => ({ id: `again-${at}`, url: `${cluster.webUrl}/again-${at}` }))
  for (const source of sources) cluster.log(source.id, `once more ${source.id}\n`)
  await cluster.put(1, '/v1/runners/again', {
    name: 'again', placement: { spread: 'web' }, reader: { type: 'http', poll_ms: 200 }, sources, senders: [{ name: 'out', type: 'file', path: cluster.path('again-{node}.ndjson') }],
  })
  const written = () => ['a1', 'a2', 'a3'].flatMap((node) => cluster.read(`again-${node}.ndjson`).split('\n')).filter((line) => line.includes('once more'))
  await cluster.until('both are written', async () => written().length === 2)
  await page.goto(`${cluster.url(2)}/runners/again`)
  // What is acknowledged is told by each node now and then: the question is asked until it is all known.
  const dialog = page.getByRole('dialog')
  await expect(async () => {
    await page.getByRole('button', { name: 'Rewind' }).click()
    await expect(dialog.getByText('Sources read and sent again: 2, 36 B')).toBeVisible({ timeout: 5000 }).catch(async (error) => {
      await page.keyboard.press('Escape')
      throw error
    })
  }).toPass({ timeout: 120_000 })
  await page.screenshot({ path: 'screenshots/rewind.png' })
  expect(await violations(page), 'a rewind').toEqual([])
  await dialog.getByLabel('Type 2 to confirm').fill('3')
  await dialog.locator('button[type=submit]').click()
  await expect(dialog.getByText('That is not 2')).toBeVisible()
  await dialog.getByLabel('Type 2 to confirm').fill('2')
  await dialog.locator('button[type=submit]').click()
  await cluster.until('both are written again', async () => written().length === 4)
  await page.goto(`${cluster.url(2)}/sources/again/again-1`)
  await page.getByRole('button', { name: 'Rewind' }).click()
  await expect(dialog.getByText('Sources read and sent again: 1, 18 B')).toBeVisible()
  await dialog.locator('button[type=submit]').click()
  await cluster.until('one is written a third time', async () => written().filter((line) => line.includes('again-1')).length === 3)
  expect(written().filter((line) => line.includes('again-0')).length).toBe(2)
})

test('counters are cleared, once it was seen what is forgotten', async ({ page }) => {
  const records = async () => ((await cluster.get(1, '/v1/instances?runner=fleet')).items as { node_name: string; records: number }[]).reduce((sum, row) => sum + row.records, 0)
  await cluster.until('something was counted', async () => (await records()) >= SOURCES)
  await page.goto(`${cluster.url(1)}/runners/fleet`)
  await page.getByRole('button', { name: 'Clear counters' }).click()
  const dialog = page.getByRole('dialog')
  await expect(dialog.getByText(/^Forgotten: [1-9]\d* records?, \d+ errors?, \d+ dead letters?$/)).toBeVisible()
  await page.screenshot({ path: 'screenshots/clear.png' })
  await confirm(page, 3)
  await expect(dialog.getByText('applied', { exact: true })).toHaveCount(3)
  await cluster.until('all counters begin anew', async () => (await records()) === 0)
  await page.reload()
  await expect(page.getByText('Counted since')).toBeVisible()
})

test('what waits in a disk queue is thrown away, once it was seen how much that is', async ({ page }) => {
  // Nobody listens where it sends to, so what comes in waits.
  await cluster.put(1, '/v1/runners/queued', {
    name: 'queued', placement: { every: 'name=a4' }, reader: { type: 'http_push', listen: `${cluster.address(4)}:7990` },
    senders: [{ name: 'out', type: 'http', url: `http://${cluster.address(4)}:1` }],
  })
  await cluster.until('it takes records', async () => (await fetch(`http://${cluster.address(4)}:7990`, { method: 'POST', body: 'one\ntwo\n' })).ok)
  const waits = async () => (await cluster.get(1, '/v1/instances/a4/queued')).queue_bytes as number
  await cluster.until('they wait', async () => (await waits()) > 0)
  // A runner whose reader can wait has none, and says so.
  await page.goto(`${cluster.url(1)}/runners/fleet`)
  await expect(page.getByRole('button', { name: 'Drop queue' })).toHaveAttribute('aria-description', /^Its reader can wait/)
  await page.getByRole('button', { name: 'Drop queue' }).press('Enter')
  await expect(page.getByRole('dialog')).toHaveCount(0)
  await page.goto(`${cluster.url(1)}/tags`)
  await row(page, 'all-of-us').getByRole('button', { name: 'Act on runners' }).click()
  await page.getByLabel('fleet').check()
  await page.getByLabel('queued').check()
  await page.getByLabel('What', { exact: true }).selectOption('drop-queue')
  const next = page.getByRole('dialog').getByRole('button', { name: 'Next' })
  await expect(next).toHaveAttribute('aria-description', /^No disk queue: fleet\./)
  await page.getByLabel('fleet').uncheck()
  await expect(next).not.toHaveAttribute('aria-disabled')
  await page.goto(`${cluster.url(1)}/runners/queued`)
  await page.getByRole('button', { name: 'Drop queue' }).click()
  const dialog = page.getByRole('dialog')
  await expect(dialog.getByText(/^[1-9][\d.]* \w+ in 1 disk queue would be thrown away\.$/)).toBeVisible()
  await expect(dialog.getByRole('table', { name: 'What is thrown away' })).toContainText('a4')
  await page.screenshot({ path: 'screenshots/drop-queue.png' })
  expect(await violations(page), 'a queue to be dropped').toEqual([])
  await confirm(page, 1)
  await expect(dialog.getByText('applied', { exact: true })).toBeVisible()
  await cluster.until('nothing waits', async () => (await waits()) === 0)
})

test('several runners of a tag are deleted at once, once their names and their nodes were seen', async ({ page }) => {
  for (const name of ['gone-1', 'gone-2'])
    await cluster.put(1, `/v1/runners/${name}`, {
      name, placement: { every: 'web' }, reader: { type: 'file', paths: [cluster.path(`${name}.log`)] }, senders: [{ name: 'out', type: 'file', path: cluster.path(`${name}.ndjson`) }],
    })
  await page.goto(`${cluster.url(1)}/tags`)
  await row(page, 'web').getByRole('button', { name: 'Act on runners' }).click()
  await page.getByLabel('What', { exact: true }).selectOption('delete')
  const next = page.getByRole('dialog').getByRole('button', { name: 'Next' })
  await expect(next).toHaveAttribute('aria-description', 'Choose a runner first.')
  await page.getByLabel('gone-1').check()
  await page.getByLabel('gone-2').check()
  await next.click()
  const dialog = page.getByRole('dialog')
  await expect(dialog.getByText('These runners are gone on all nodes')).toBeVisible()
  await expect(dialog.getByRole('heading', { name: 'Delete: gone-1, gone-2 @ all' })).toBeVisible()
  await page.screenshot({ path: 'screenshots/delete-several.png' })
  await confirm(page, 3)
  await expect(dialog.getByText('applied', { exact: true })).toHaveCount(3)
  await cluster.until('both are gone', async () => ((await cluster.get(2, '/v1/runners')).items as { name: string }[]).every((row) => !row.name.startsWith('gone-')))
})

test('who edits what another has changed meanwhile is told, and what was typed stays', async ({ page }) => {
  const spec = { name: 'edited', placement: { every: 'web' }, reader: { type: 'file', paths: [cluster.path('edited.log')] }, senders: [{ name: 'out', type: 'file', path: cluster.path('edited.ndjson') }] }
  const transform = async () => (await cluster.get(2, '/v1/runners/edited')).spec.transform?.vrl
  await cluster.put(2, '/v1/runners/edited', spec)
  await page.goto(`${cluster.url(2)}/runners/edited/edit`)
  await page.getByRole('button', { name: 'How to take lines apart' }).click()
  await page.getByLabel('VRL program').fill('.by = "me"')
  await cluster.put(2, '/v1/runners/edited', { ...spec, transform: { vrl: '.by = "another"' } })
  const save = async () => {
    await page.getByRole('button', { name: 'Check', exact: true }).click()
    await page.getByRole('button', { name: 'Save', exact: true }).click()
  }
  await page.getByRole('button', { name: 'Check and save' }).click()
  await save()
  await expect(page.getByText('Somebody changed this runner since you opened it.')).toBeVisible()
  expect(await transform()).toBe('.by = "another"')
  await page.screenshot({ path: 'screenshots/conflict.png', fullPage: true })
  await save()
  await expect(page.getByRole('heading', { name: 'Saved.' })).toBeVisible()
  expect(await transform()).toBe('.by = "me"')
})

test('a runner is stopped, started again and restarted by tag', async ({ page }) => {
  cluster.log('tagged', 'one line\n')
  await cluster.put(1, '/v1/runners/tagged', {
    name: 'tagged', placement: { spread: 'web' }, reader: { type: 'http', poll_ms: 200 }, sources: [{ id: 'one', url: `${cluster.webUrl}/tagged` }],
    senders: [{ name: 'out', type: 'file', path: cluster.path('tagged.ndjson') }],
  })
  const lines = () => cluster.read('tagged.ndjson').split('\n').filter(Boolean).length
  await cluster.until('it is read', async () => lines() === 1)
  const act = async (verb: string) => {
    await page.goto(`${cluster.url(1)}/tags`)
    await row(page, 'web').getByRole('button', { name: 'Act on runners' }).click()
    await page.getByLabel('tagged').check()
    await page.getByLabel('What', { exact: true }).selectOption(verb)
    const dialog = page.getByRole('dialog')
    await dialog.getByRole('button', { name: 'Next' }).click()
    await expect(dialog.getByText(/^\d targets?$/)).toBeVisible()
    const n = Number.parseInt((await dialog.getByText(/^\d targets?$/).textContent()) ?? '')
    await confirm(page, n)
    await expect(dialog.getByText('applied', { exact: true })).toHaveCount(n)
  }
  await act('stop')
  await cluster.until('it is stopped', async () => (await cluster.get(2, '/v1/runners/tagged')).instances.running === undefined)
  await act('start')
  await cluster.until('it runs', async () => (await cluster.get(2, '/v1/runners/tagged')).instances.running > 0)
  await act('restart')
  cluster.log('tagged', 'another line\n')
  await cluster.until('it is read on', async () => lines() === 2)
})

test('a runner goes back to what it was', async ({ page }) => {
  const spec = { name: 'turned', placement: { every: 'web' }, reader: { type: 'file', paths: [cluster.path('turned.log')] }, senders: [{ name: 'out', type: 'file', path: cluster.path('turned.ndjson') }] }
  for (const vrl of ['.as = "before"', '.as = "after"']) await cluster.put(2, '/v1/runners/turned', { ...spec, transform: { vrl } })
  await page.goto(`${cluster.url(2)}/runners/turned`)
  await page.getByRole('button', { name: 'Compare with now' }).click()
  await expect(page.locator('.difference')).toContainText('- ')
  await page.getByRole('button', { name: 'Go back to it' }).click()
  await confirm(page, 3)
  await expect(page.getByRole('dialog').getByText('applied', { exact: true })).toHaveCount(3)
  await cluster.until('it is what it was', async () => (await cluster.get(2, '/v1/runners/turned')).spec.transform.vrl === '.as = "before"')
  // On `all`, which means five nodes, of which three are targets.
  await page.goto(`${cluster.url(2)}/runners/turned`)
  await page.getByRole('button', { name: 'Restart' }).click()
  await confirm(page, 3)
  await expect(page.getByRole('dialog').getByText('applied', { exact: true })).toHaveCount(3)
})

test('a runner is stopped by tag with one node down: pending there, then applied', async ({ page }) => {
  await cluster.kill(3)
  await cluster.until('a3 is down', alive(cluster, 1, 4))
  await page.goto(`${cluster.url(1)}/tags`)
  await row(page, 'web').getByRole('button', { name: 'Act on runners' }).click()
  await page.getByLabel('fleet').check()
  await page.getByLabel('What', { exact: true }).selectOption('stop')
  await page.getByRole('dialog').getByRole('button', { name: 'Next' }).click()
  await expect(page.getByRole('dialog').getByText('3 targets')).toBeVisible()
  expect(await violations(page), 'a question').toEqual([])
  await page.screenshot({ path: 'screenshots/question.png' })
  await confirm(page, 3)
  const dialog = page.getByRole('dialog')
  await expect(dialog.getByText('pending', { exact: true })).toHaveCount(1)
  await expect(dialog.getByText('applied', { exact: true })).toHaveCount(2)
  cluster.startNode(3)
  await expect(dialog.getByText('applied', { exact: true })).toHaveCount(3)
  await dialog.getByRole('link', { name: 'Open the operation' }).click()
  await expect(page.getByRole('heading', { name: 'stop fleet' })).toBeVisible()
  await expect(page.getByRole('table', { name: 'Targets' }).getByText('applied')).toHaveCount(3)
  await page.screenshot({ path: 'screenshots/operation.png', fullPage: true })
  expect(await violations(page), 'an operation').toEqual([])
  await cluster.until('five live', alive(cluster, 1, 5))
})
