import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { around, named, sayTold } from './told'

test('an event is told in Chinese, with the sentence within it', () => {
  expect(sayTold('zh', 'a3 is alive')).toBe('a3 存活')
  expect(sayTold('zh', 'a3 is down: its host says that no process listens there')).toBe('a3 宕机：其主机报告该处没有进程监听')
  expect(sayTold('zh', 'taken at epoch 7: took over from web-1.eu')).toBe('于纪元 7 接管：接管自 web-1.eu')
  expect(sayTold('zh', 'a2 collects 12 sources of fleet: handed over by a1, which drains')).toBe('a2 采集 fleet 的 12 个数据源：由正在排空的 a1 移交')
  expect(sayTold('zh', 'stop fleet on 3 nodes by operator through a1 (at night): operation 5-6')).toBe('operator 经 a1 (at night) 在 3 个节点上执行：停止 fleet：操作 5-6')
  expect(sayTold('zh', 'drop queue fleet, other on a2 by operator through a1: 0 of 1 have carried it out, 1 could not')).toBe(
    'operator 经 a1 在 a2 上执行：丢弃队列 fleet, other：1 个目标中 0 个已执行，1 个未能执行',
  )
})

/** The sentences of a file of Rust, with something in each of their holes. */
function sentences(path: string): string[] {
  const [code = ''] = readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8').split('#[cfg(test)]')
  const bare = code.replace(/^\s*\/\/.*$/gm, '').replace(/\\\n\s*/g, '')
  const literals = [...bare.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text = '']) => text.replaceAll('\\"', '"'))
  return literals.filter((text) => text.includes(' ')).map((text) => text.replace(/\{[^}]*\}/g, '7'))
}
const untold = (texts: string[]) => texts.filter((text) => !/[\u4e00-\u9fff]/.test(sayTold('zh', text)))

/** Beginnings and ends of sentences, and what no operator reads. */
const FRAGMENTS = [
  ': its host says that no process listens there', '7 is 77', ', 7 could not', '7: 7 of 7 have carried it out7', ' (7 by 7)', '7 was changed on 7', 'operation 7', ' (7)',
  'on no node', 'on 7', 'on 7 nodes', ', ', ' ', ': of what happened since 7 it has only seen what is left of it', 'this node starts7', ' through 7', 'key 7 by 777', '7: 7', '; not 7',
  '; ', ' and ', '7 7', 'not told', 'SHA-256 has 32 bytes', 'helpers are of the others', 'it is for another node',
]

test('what nodes write of events, and of why something is as it is, is told', () => {
  const files = [
    'src/events/words.rs', 'src/cluster/view.rs', 'src/cluster/view/sources.rs', 'src/cluster/node/outcomes.rs', 'src/cluster/node/queues.rs', 'src/cluster/node/renaming.rs',
    'src/cluster/node/rewinds.rs', 'src/cluster/operation.rs', 'src/cluster/rollout.rs', 'src/agent/asking.rs',
  ]
  const texts = files.flatMap(sentences)
  expect(texts.length).toBeGreaterThan(100)
  expect(untold(texts).filter((text) => !FRAGMENTS.includes(text))).toEqual([])
})

test('what the API says where it refuses something is told', () => {
  const problems = [...sentences('src/api/problem.rs'), ...sentences('src/cluster/command.rs'), ...sentences('src/api/components.rs').filter((text) => text.startsWith('this build'))]
  expect(problems.filter((text) => text.startsWith('this build'))).toHaveLength(1)
  expect(problems.length).toBeGreaterThan(80)
  // Said in other words by the API, or with a hole that is a part of a word.
  const others = /^(there is no|it has 7 fault|the revision is|what it changes has no revision|It would leave|it concerns|GET )/
  expect(untold(problems.filter((text) => !others.test(text)).concat('It would leave 2 nodes unheard.', 'it concerns 1 node now, not 3'))).toEqual([])
})

test('a change of keys is told', () => {
  expect(sayTold('zh', 'key install 757cdfd6aea5277b by ann (admin) through a1: 5 node(s) are told')).toBe('ann (admin) 经 a1 添加密钥 757cdfd6aea5277b：通知 5 个节点')
  expect(sayTold('zh', 'key use 757cdfd6aea5277b by admin through a1: 4 of 5 have carried it out; not a5: it does not answer: no route')).toBe(
    'admin 经 a1 启用密钥 757cdfd6aea5277b：5 个目标中 4 个已执行；未执行：a5: it does not answer: no route',
  )
})

test('what a newer node writes, and all of it in English, stays as it was written', () => {
  for (const told of ['brand new words', '', '/var/log/x: permission denied']) expect(sayTold('zh', told)).toBe(told)
  expect(sayTold('en', 'a3 is alive')).toBe('a3 is alive')
})

test('a node goes by its name where that is known', () => {
  const names = new Map([['0123abcd00000000', 'a3']])
  expect(named('0123abcd is alive; ffff0000 is not', names)).toBe('a3 is alive; ffff0000 is not')
  expect(named('operation 00117662981508235264-0123abcd, epoch 1-0123abcd', names)).toBe('operation 00117662981508235264-0123abcd, epoch 1-0123abcd')
})

test('a name is found where it stands alone, and not as a part of another', () => {
  expect(around('web-1 and web-1.eu and web', 'web')).toEqual(['web-1 and web-1.eu and ', ''])
  expect(around('taken from web.', 'web')).toEqual(['taken from ', '.'])
  expect(around('由 a1 移交', 'a1')).toEqual(['由 ', ' 移交'])
  expect(around('web-1', 'web')).toBeUndefined()
})
