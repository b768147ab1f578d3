'use strict'
// Draws what the run's recorder kept. Everything that a run said is set as text; colours are the style sheet's.

const data = JSON.parse(document.getElementById('data').textContent)
const SIGHTS = ['unknown', 'alive', 'suspect', 'down', 'left']
const GUTTER = 84 // left of every chart, for names
const RIGHT = 10
const AXIS = 18 // below a chart, for times
const byId = (id) => document.getElementById(id)
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()
const seconds = (at) => (at / 1000).toFixed(at % 1000 ? 3 : 0) + ' s'
const nodeCount = data.nodes.length
const end = Math.max(data.end, 1)
let moment = data.violation ? data.violation.at : Math.round(end / 2)

// ── what is known at a time ──

const runs = (node, at) => data.lives[node].some(([from, to]) => from <= at && (to === null || at < to))

/** Calls `each(at, observer, subject, sight)` for every glance up to a time. */
function replay(until, each) {
  const glances = data.glances ?? []
  for (let at = 0, i = 0; i < glances.length; i += 4) {
    at += glances[i]
    if (at > until) return
    each(at, glances[i + 1], glances[i + 2], glances[i + 3])
  }
}

/** Who sees whom how at a time: `sights[observer * nodes + subject]`. A process that ended sees nobody. */
function sightsAt(until) {
  const sights = new Uint8Array(nodeCount * nodeCount)
  replay(until, (_, observer, subject, sight) => {
    if (observer === subject) sights.fill(0, observer * nodeCount, (observer + 1) * nodeCount)
    else sights[observer * nodeCount + subject] = sight
  })
  return sights
}

/** For each column and node, how many see it suspect, down, left and alive: the worst of the column's time. */
function shares(columns) {
  const width = end / columns
  const counts = new Uint16Array(nodeCount * 5)
  const sights = new Uint8Array(nodeCount * nodeCount)
  const worst = new Uint16Array(columns * nodeCount * 5)
  let column = 0
  const keep = (subject) => {
    const from = subject * 5
    const to = (column * nodeCount + subject) * 5
    for (const sight of [2, 3, 4]) worst[to + sight] = Math.max(worst[to + sight], counts[from + sight])
    worst[to + 1] = counts[from + 1]
  }
  const advance = (to) => {
    while (column < to) {
      column += 1
      for (let subject = 0; subject < nodeCount; subject++) keep(subject)
    }
  }
  for (let subject = 0; subject < nodeCount; subject++) keep(subject)
  const set = (observer, subject, sight) => {
    const at = observer * nodeCount + subject
    if (sights[at]) counts[subject * 5 + sights[at]] -= 1
    if (sight) counts[subject * 5 + sight] += 1
    sights[at] = sight
    keep(subject)
  }
  replay(end, (at, observer, subject, sight) => {
    advance(Math.min(columns - 1, Math.floor(at / width)))
    if (observer !== subject) set(observer, subject, sight)
    else for (let other = 0; other < nodeCount; other++) set(observer, other, 0)
  })
  advance(columns - 1)
  return worst
}

// ── canvases ──

const charts = []

/** A canvas of a height, drawn by `draw(context, width, height)`, over the common time; `tell(at, y)` gives its tip. */
function chart(id, height, draw, tell) {
  const canvas = byId(id)
  const one = { canvas, height, draw }
  charts.push(one)
  const time = (event) => {
    const box = canvas.getBoundingClientRect()
    const part = (event.clientX - box.left - GUTTER) / (box.width - GUTTER - RIGHT)
    return { at: Math.round(Math.min(1, Math.max(0, part)) * end), y: event.clientY - box.top }
  }
  canvas.addEventListener('click', (event) => choose(time(event).at))
  canvas.addEventListener('mousemove', (event) => {
    const { at, y } = time(event)
    const text = tell?.(at, y)
    tip(event, seconds(at) + (text ? ': ' + text : ''))
  })
  canvas.addEventListener('mouseleave', () => tip(null))
}

function tip(event, text) {
  const box = byId('tip')
  box.hidden = !event
  if (!event) return
  box.textContent = text
  box.style.left = Math.min(event.clientX + 14, window.innerWidth - 430) + 'px'
  box.style.top = event.clientY + 16 + 'px'
}

function prepare(canvas, height) {
  const width = canvas.parentElement.clientWidth - 28
  const scale = window.devicePixelRatio || 1
  canvas.width = width * scale
  canvas.height = height * scale
  canvas.style.height = height + 'px'
  const context = canvas.getContext('2d')
  context.scale(scale, scale)
  context.font = '11px ui-monospace, monospace'
  context.textBaseline = 'middle'
  return { context, width }
}

function render() {
  for (const { canvas, height, draw } of charts) {
    const { context, width } = prepare(canvas, height)
    const x = (at) => GUTTER + (at / end) * (width - GUTTER - RIGHT)
    axis(context, x, height)
    draw(context, x, width, height - AXIS)
    context.fillStyle = colour('cursor')
    context.fillRect(x(moment) - 0.5, 0, 1, height - AXIS)
  }
  matrix()
}

function axis(context, x, height) {
  const steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200].map((step) => step * 1000)
  const step = steps.find((step) => (end / step) <= 12) ?? end / 8
  context.textAlign = 'center'
  for (let at = 0; at <= end; at += step) {
    context.fillStyle = colour('line')
    context.fillRect(x(at), 0, 1, height - AXIS + 3)
    context.fillStyle = colour('quiet')
    context.fillText(Math.round(at / 1000) + ' s', Math.max(x(at), GUTTER), height - 6)
  }
}

/** Names left of rows, as many as fit. */
function labels(context, names, row) {
  const nth = Math.max(1, Math.ceil(12 / row))
  context.textAlign = 'right'
  context.fillStyle = colour('quiet')
  names.forEach((name, at) => {
    if (at % nth === 0) context.fillText(name.length > 11 ? name.slice(0, 10) + '…' : name, GUTTER - 8, at * row + Math.max(row, 8) / 2)
  })
}

function legend(id, items) {
  for (const [name, text] of items) {
    const box = document.createElement('i')
    box.style.background = name.startsWith('--') ? `var(${name})` : name
    byId(id).append(box, text)
  }
}

// ── the charts ──

const rowHeight = Math.max(4, Math.min(30, Math.floor(900 / nodeCount)))

function drawAgreement(context, x, width, height) {
  const line = (pick, name, dash) => {
    context.strokeStyle = colour(name)
    context.lineWidth = 1.5
    context.setLineDash(dash)
    context.beginPath()
    data.agreements.forEach((one, i) => {
      const y = 4 + (1 - pick(one)) * (height - 8)
      if (i) context.lineTo(x(one[0]), context.last)
      context.last = y
      i ? context.lineTo(x(one[0]), y) : context.moveTo(x(one[0]), y)
    })
    context.stroke()
    context.setLineDash([])
  }
  const share = (part, whole) => (whole ? part / whole : 1)
  line(([, running, complete]) => share(complete, running), 'alive', [])
  line(([, running, , catalogs]) => share(1, running ? catalogs : 1), 'fault', [5, 3])
  line(([, running, , , maps]) => share(1, running ? maps : 1), 'left', [2, 3])
  context.textAlign = 'right'
  context.fillStyle = colour('quiet')
  context.fillText('all', GUTTER - 8, 8)
  context.fillText('none', GUTTER - 8, height - 6)
}

const agreementAt = (at) => data.agreements.findLast(([time]) => time <= at)
const agreementText = (one) =>
  one ? `${one[1]} run, ${one[2]} of them see all of them; ${one[3]} catalogs and ${one[4]} sets of node maps` : ''

/** Faults in lanes, so that no two cover each other. */
const lanes = []
const placed = data.faults.map(([from, to, what, nodes]) => {
  const until = Math.max(to ?? from, from + end / 90)
  let lane = lanes.findIndex((free) => free <= from)
  if (lane < 0) lane = lanes.length < 14 ? lanes.push(0) - 1 : 13
  lanes[lane] = until
  return { from, to, until, what, nodes, lane }
})
const LANE = 13

function drawFaults(context, x, width, height) {
  for (const { from, to, until, lane } of placed) {
    context.fillStyle = colour('fault')
    context.globalAlpha = to === null ? 1 : 0.55
    context.fillRect(x(from), lane * LANE + 2, Math.max(3, x(to === null ? from : until) - x(from)), LANE - 4)
    context.globalAlpha = 1
  }
  context.textAlign = 'right'
  context.fillStyle = colour('quiet')
  context.fillText(placed.length ? 'faults' : 'none', GUTTER - 8, 8)
}

const whom = (nodes) => (nodes.length === nodeCount || !nodes.length ? 'all' : nodes.map((node) => data.nodes[node]).join(' '))

function faultText(at, y) {
  const lane = Math.floor(y / LANE)
  const one = placed.find((fault) => fault.lane === lane && fault.from - end / 200 <= at && at <= fault.until)
  return one && `${one.what} (${whom(one.nodes)}) from ${seconds(one.from)}${one.to === null ? '' : ' to ' + seconds(one.to)}`
}

let drawnShares = null

function drawNodes(context, x, width) {
  const columns = Math.max(1, Math.floor(width - GUTTER - RIGHT))
  if (data.glances && drawnShares?.columns !== columns) drawnShares = { columns, worst: shares(columns) }
  const bar = Math.max(2, rowHeight - (rowHeight > 6 ? 3 : 1))
  data.lives.forEach((lives, node) => {
    for (const [from, to] of lives) {
      context.fillStyle = colour(data.glances ? 'unknown' : 'alive')
      context.fillRect(x(from), node * rowHeight, x(to ?? end) - x(from), bar)
    }
  })
  if (data.glances) {
    const colours = SIGHTS.map(colour)
    const running = Array.from({ length: columns }, (_, column) => data.lives.filter((_, node) => runs(node, ((column + 1) * end) / columns)).length)
    for (let node = 0; node < nodeCount; node++) {
      for (let column = 0; column < columns; column++) {
        const at = (column * nodeCount + node) * 5
        const all = Math.max(1, running[column] - (runs(node, ((column + 1) * end) / columns) ? 1 : 0))
        let top = node * rowHeight
        for (const sight of [3, 4, 2, 1]) {
          const part = Math.min((drawnShares.worst[at + sight] / all) * bar, node * rowHeight + bar - top)
          if (part <= 0) continue
          context.fillStyle = colours[sight]
          context.fillRect(GUTTER + column, top, 1.2, part)
          top += part
        }
      }
    }
  }
  // A line below each while it runs tells a dead node from one that is only believed dead.
  if (rowHeight > 6) {
    context.fillStyle = colour('ink')
    data.lives.forEach((lives, node) => {
      for (const [from, to] of lives) context.fillRect(x(from), node * rowHeight + bar, x(to ?? end) - x(from), 1)
    })
  }
  labels(context, data.nodes, rowHeight)
}

function nodeText(at, y) {
  const node = Math.floor(y / rowHeight)
  if (node >= nodeCount) return ''
  const state = `${data.nodes[node]} ${runs(node, at) ? 'runs' : 'does not run'}`
  if (!data.glances) return state
  const sights = sightsAt(at)
  const seen = [0, 0, 0, 0, 0]
  for (let observer = 0; observer < nodeCount; observer++) {
    if (observer !== node && runs(observer, at)) seen[sights[observer * nodeCount + node]] += 1
  }
  return state + '; seen ' + SIGHTS.map((name, i) => seen[i] && `${name} by ${seen[i]}`).filter(Boolean).join(', ')
}

function matrix() {
  const canvas = byId('matrix')
  if (!data.glances) {
    canvas.hidden = true
    byId('matrix-note').textContent = 'There are too many nodes to keep who sees whom how.'
    return
  }
  byId('matrix-note').textContent = `At ${seconds(moment)}: each row is one node's view, each column a node that is seen. Click a chart or move the time to see another moment.`
  const cell = Math.max(3, Math.min(26, Math.floor(760 / nodeCount)))
  const { context } = prepare(canvas, nodeCount * cell + 18)
  const sights = sightsAt(moment)
  const colours = SIGHTS.map(colour)
  const gap = cell > 5 ? 1 : 0
  for (let observer = 0; observer < nodeCount; observer++) {
    const awake = runs(observer, moment)
    for (let subject = 0; subject < nodeCount; subject++) {
      if (!awake) continue
      context.fillStyle = observer === subject ? colour('ink') : colours[sights[observer * nodeCount + subject]]
      context.fillRect(GUTTER + subject * cell, observer * cell, cell - gap, cell - gap)
    }
  }
  labels(context, data.nodes, cell)
  if (cell >= 12) {
    context.textAlign = 'center'
    data.nodes.forEach((name, at) => context.fillText(name.slice(0, 3), GUTTER + at * cell + cell / 2, nodeCount * cell + 9))
  }
  canvas.onmousemove = (event) => {
    const box = canvas.getBoundingClientRect()
    const subject = Math.floor((event.clientX - box.left - GUTTER) / cell)
    const observer = Math.floor((event.clientY - box.top) / cell)
    const inside = subject >= 0 && subject < nodeCount && observer >= 0 && observer < nodeCount
    const sight = inside && (observer === subject ? 'itself' : SIGHTS[sights[observer * nodeCount + subject]])
    const text = inside && (runs(observer, moment) ? `${data.nodes[observer]} sees ${data.nodes[subject]}: ${sight}` : `${data.nodes[observer]} does not run`)
    tip(inside ? event : null, text)
  }
  canvas.onmouseleave = () => tip(null)
}

// Lanes for sources as long as they can be read; else, for each node, how many it has.
const OWNER_ROW = data.sources.length <= 40 ? 18 : 9
const IN_LANES = data.sources.length <= 90
const CAUSES = { new: 'quiet', takeover: 'down', handover: 'left', restart: 'suspect', reopening: 'quiet' }
const covers = ([, , from, to], at) => from <= at && (to === null || at < to)
// Neighbouring nodes get hues that are far apart.
const hue = (node) => `hsl(${(node * 137.5) % 360} 45% 50%)`

function drawOwners(context, x) {
  if (!IN_LANES) {
    heatRows(context, x, counts, Math.max(1, ...counts.flat()))
    return labels(context, data.nodes, rowHeight)
  }
  const bar = OWNER_ROW - (OWNER_ROW > 12 ? 4 : 2)
  for (const [source, node, from, to, cause, , majority] of data.owners) {
    const width = Math.max(1, x(to ?? end) - x(from))
    const top = source * OWNER_ROW + 1
    context.fillStyle = hue(node)
    context.fillRect(x(from), top, width, bar)
    // How it came to this owner.
    context.fillStyle = colour(majority ? CAUSES[cause] ?? 'quiet' : 'fault')
    context.fillRect(x(from), top, majority ? 3 : 5, bar)
    if (width > 24 && OWNER_ROW > 12) {
      context.fillStyle = '#ffffff'
      context.textAlign = 'left'
      context.fillText(data.nodes[node], x(from) + 7, top + bar / 2)
    }
  }
  labels(context, data.sources, OWNER_ROW)
}

function ownerText(at, y) {
  if (!IN_LANES) {
    const node = Math.floor(y / rowHeight)
    return data.nodes[node] && `${data.nodes[node]} has ${counts[node][Math.floor(at / data.bucket)] ?? 0} of ${data.sources.length} sources`
  }
  const source = Math.floor(y / OWNER_ROW)
  const owners = data.owners.filter((one) => one[0] === source && covers(one, at))
  const why = owners.map(([, node, from, , cause]) => `${data.nodes[node]} (since ${seconds(from)}, ${cause})`).join(' and ')
  return data.sources[source] && `${data.sources[source]}: ${why || 'nobody'}`
}

const spans = Math.ceil(end / data.bucket)
const rates = data.traffic.map((row) => Array.from({ length: spans }, (_, i) => ((row[i] ?? 0) * 1000) / data.bucket))
const rateOf = (rates, part) => [...rates].sort((one, other) => one - other)[Math.floor((rates.length - 1) * part)] ?? 0
const perSpan = Array.from({ length: spans }, (_, i) => {
  const running = rates.filter((_, node) => runs(node, i * data.bucket)).map((row) => row[i])
  return { middle: rateOf(running, 0.5), most: rateOf(running, 1) }
})
const rateMax = Math.max(1, ...perSpan.map(({ most }) => most))
const bytes = (rate) => (rate >= 1e6 ? (rate / 1e6).toFixed(1) + ' MB/s' : rate >= 1000 ? (rate / 1000).toFixed(1) + ' kB/s' : Math.round(rate) + ' B/s')

function drawTrafficLines(context, x, width, height) {
  const y = (rate) => height - 4 - (rate / rateMax) * (height - 12)
  for (const [pick, name] of [[({ most }) => most, 'down'], [({ middle }) => middle, 'left']]) {
    context.strokeStyle = colour(name)
    context.lineWidth = 1.5
    context.beginPath()
    perSpan.forEach((span, i) => context[i ? 'lineTo' : 'moveTo'](x(Math.min(end, (i + 0.5) * data.bucket)), y(pick(span))))
    context.stroke()
  }
  context.textAlign = 'right'
  context.fillStyle = colour('quiet')
  context.fillText(bytes(rateMax), GUTTER - 8, 10)
  context.fillText('0', GUTTER - 8, height - 6)
}

/** A row for each node, the stronger the more. By the root, so that a quiet node is still seen beside a burst. */
function heatRows(context, x, rows, most) {
  const heat = colour('heat')
  rows.forEach((row, node) => {
    row.forEach((value, i) => {
      context.fillStyle = `rgba(${heat}, ${Math.sqrt(Math.min(1, value / most)).toFixed(3)})`
      context.fillRect(x(i * data.bucket), node * rowHeight, x(Math.min(end, (i + 1) * data.bucket)) - x(i * data.bucket), Math.max(2, rowHeight - 1))
    })
  })
}

function drawTraffic(context, x) {
  heatRows(context, x, rates, rateMax)
  labels(context, data.nodes, rowHeight)
}

function trafficText(at, y) {
  const node = Math.floor(y / rowHeight)
  const rate = rates[node]?.[Math.floor(at / data.bucket)]
  return rate === undefined ? '' : `${data.nodes[node]} sends ${bytes(rate)}`
}

// ── load and balance ──

/** By node and span, its load in parts of what it bears: what it says of itself when that is worth a word. */
const loads = data.loads.map((row) => Array.from({ length: spans }, (_, i) => (row[i] ?? 0) / 1_000_000))
const loadMost = Math.max(1e-6, ...loads.flat())
/** By node and span, how many sources it has in the middle of it. */
const counts = data.nodes.map(() => new Array(spans).fill(0))
for (const [, node, from, to] of data.owners) {
  const first = Math.max(0, Math.ceil(from / data.bucket - 0.5))
  for (let i = first; i < spans && (i + 0.5) * data.bucket < (to ?? end + data.bucket); i++) counts[node][i] += 1
}
/** The most that a running node has, in parts of what each would have on average; null where nobody has anything. */
const balance = (rows) =>
  Array.from({ length: spans }, (_, i) => {
    const running = rows.filter((_, node) => runs(node, (i + 0.5) * data.bucket)).map((row) => row[i])
    const sum = running.reduce((one, other) => one + other, 0)
    return sum ? (Math.max(...running) * running.length) / sum : null
  })
const balances = { load: balance(loads), sources: balance(counts) }
const BALANCE_MOST = 3

function drawBalance(context, x, width, height) {
  const y = (value) => height - 4 - ((Math.min(value, BALANCE_MOST) - 1) / (BALANCE_MOST - 1)) * (height - 12)
  for (const [row, name] of [[balances.sources, 'left'], [balances.load, 'down']]) {
    context.strokeStyle = colour(name)
    context.lineWidth = 1.5
    context.beginPath()
    let drawn = false
    row.forEach((value, i) => {
      if (value !== null) context[drawn ? 'lineTo' : 'moveTo'](x(Math.min(end, (i + 0.5) * data.bucket)), y(value))
      drawn = value !== null
    })
    context.stroke()
  }
  context.textAlign = 'right'
  context.fillStyle = colour('quiet')
  context.fillText(`${BALANCE_MOST} × mean`, GUTTER - 8, 10)
  context.fillText('mean', GUTTER - 8, height - 6)
}

function balanceText(at) {
  const i = Math.floor(at / data.bucket)
  const times = (value) => (value === null || value === undefined ? 'nothing' : value.toFixed(2) + ' × the mean')
  return `the busiest node has ${times(balances.load[i])}, who has most sources has ${times(balances.sources[i])}`
}

function drawLoads(context, x) {
  heatRows(context, x, loads, loadMost)
  labels(context, data.nodes, rowHeight)
}

function loadText(at, y) {
  const node = Math.floor(y / rowHeight)
  const i = Math.floor(at / data.bucket)
  const percent = ((loads[node]?.[i] ?? 0) * 100).toPrecision(3)
  return loads[node] && `${data.nodes[node]} has ${percent} % of what it bears, and ${counts[node][i] ?? 0} sources`
}

/** Each change of hands: `[at, source, from, to, cause, milliseconds in which nobody read it]`. */
function changes() {
  const last = data.sources.map(() => null)
  const found = []
  for (const one of data.owners) {
    const [source, node, from, , cause, , majority] = one
    const before = last[source]
    last[source] = one
    if (!before || before[1] === node) continue
    const stopped = Math.min(before[5] ?? Infinity, before[3] ?? Infinity)
    found.push([from, source, before[1], node, majority ? cause : cause + ' without a majority', Math.max(0, from - stopped)])
  }
  return found
}

const MOVES_MAX = 500

function moves() {
  const all = changes()
  const by = {}
  for (const [, , , , cause] of all) by[cause] = (by[cause] ?? 0) + 1
  const sum = Object.entries(by).map(([cause, count]) => `${count} by ${cause}`).join(', ')
  byId('moves-note').textContent = all.length ? `${all.length} moves: ${sum}${all.length > MOVES_MAX ? `; the first ${MOVES_MAX}` : ''}` : 'No source moved.'
  const rows = all.slice(0, MOVES_MAX).map(([at, source, from, to, cause, pause]) => {
    const row = document.createElement('div')
    const rest = Number.isFinite(pause) ? `, read by nobody for ${seconds(pause)}` : ''
    row.textContent = `${seconds(at)}  ${data.sources[source]}: ${data.nodes[from]} → ${data.nodes[to]}, ${cause}${rest}`
    row.addEventListener('click', () => choose(at))
    return row
  })
  byId('moves').replaceChildren(...rows)
}

// ── words ──

function verdict() {
  byId('title').textContent = `Seed ${data.seed}: ${nodeCount} nodes, ${data.sources.length} sources, ${seconds(end)} of virtual time`
  const line = byId('verdict')
  line.textContent = data.violation ? `broken at ${seconds(data.violation.at)}: ${data.violation.invariant}` : 'every invariant held'
  line.className = data.violation ? 'failed' : 'held'
  byId('outcome').textContent = data.outcome
  byId('scenario').textContent = data.scenario
  if (data.violation) {
    byId('broken').hidden = false
    byId('detail').textContent = data.violation.detail
  }
}

const timeOf = (line) => Math.round(parseFloat(line) * 1000)

function story() {
  const wanted = byId('search').value.toLowerCase()
  const lines = data.story.filter((line) => line.toLowerCase().includes(wanted)).map((line) => {
    const row = document.createElement('div')
    row.textContent = line
    row.addEventListener('click', () => choose(timeOf(line)))
    return row
  })
  byId('story').replaceChildren(...lines)
  mark()
}

/** The last line before the chosen moment. */
function mark() {
  let now = null
  for (const row of byId('story').children) {
    row.classList.remove('now')
    if (timeOf(row.textContent) <= moment) now = row
  }
  if (!now) return
  now.classList.add('now')
  byId('story').scrollTop = now.offsetTop - byId('story').offsetTop - 150
}

function choose(at) {
  moment = at
  byId('time').value = at
  byId('moment').textContent = `${seconds(at)}: ${agreementText(agreementAt(at))}`
  mark()
  render()
}

verdict()
legend('agreement-legend', [['--alive', 'nodes that see all who run, and nobody else'], ['--fault', 'one catalog among all (the fewer agree, the lower)'], ['--left', 'one set of node maps']])
legend('nodes-legend', [['--alive', 'alive'], ['--suspect', 'suspect'], ['--down', 'down'], ['--left', 'left'], ['--unknown', 'not known'], ['--ink', 'the line below: it runs']])
legend('traffic-legend', [['--left', 'the middle node'], ['--down', 'the busiest; below, each node, the stronger the more']])
chart('agreement', 90 + AXIS, drawAgreement, (at) => agreementText(agreementAt(at)))
chart('faults', Math.max(1, lanes.length) * LANE + 4 + AXIS, drawFaults, faultText)
chart('nodes', nodeCount * rowHeight + AXIS, drawNodes, nodeText)
if (data.sources.length) {
  if (!IN_LANES) byId('owners-title').textContent = 'How many of the sources each node has'
  else legend('owners-legend', [['--down', 'taken over'], ['--left', 'handed over'], ['--suspect', 'after a restart'], ['--quiet', 'new, or opened anew'], ['--fault', 'without a majority']])
  legend('balance-legend', [['--down', 'the load of the busiest node, beside the mean'], ['--left', 'who has most sources, beside the mean']])
  chart('owners', (IN_LANES ? data.sources.length * OWNER_ROW : nodeCount * rowHeight) + AXIS, drawOwners, ownerText)
  chart('balance', 90 + AXIS, drawBalance, balanceText)
  // Where no machine was simulated, nobody measures a load.
  if (loads.flat().some((load) => load > 0)) chart('loads', nodeCount * rowHeight + AXIS, drawLoads, loadText)
  else byId('of-loads').hidden = true
  moves()
} else {
  for (const section of document.querySelectorAll('.of-sources')) section.hidden = true
}
chart('traffic-lines', 90 + AXIS, drawTrafficLines, (at) => {
  const span = perSpan[Math.floor(at / data.bucket)]
  return span && `${bytes(span.middle)} in the middle, ${bytes(span.most)} at the most`
})
chart('traffic', nodeCount * rowHeight + AXIS, drawTraffic, trafficText)
byId('time').max = end
byId('time').addEventListener('input', (event) => choose(Number(event.target.value)))
byId('search').addEventListener('input', story)
window.addEventListener('resize', render)
window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', render)
story()
choose(moment)
