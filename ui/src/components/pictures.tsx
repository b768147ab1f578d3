import { Fragment } from 'react'
import type { NodeRow, RunnerSpec } from '../api/client'
import { useWords } from './words'
import { Go } from './Go'
import { Mark, tone } from './Status'
import { sayState } from '../text'

const ORDER = ['down', 'suspect', 'alive', 'left']

/** Every node a cell, the worst first: what is wrong is seen before anything is read. */
export function NodesPicture({ nodes }: { nodes: NodeRow[] }) {
  const { language } = useWords()
  const sorted = [...nodes].sort((a, b) => ORDER.indexOf(a.status) - ORDER.indexOf(b.status) || a.name.localeCompare(b.name))
  // With many nodes a cell is a mark alone; its name is told to whoever points at it, or listens.
  const isDense = nodes.length > 60
  return (
    <div className="nodes">
      {sorted.map((node) => {
        const told = `${node.name}: ${sayState(language, node.status)}${node.phase === 'active' ? '' : `, ${sayState(language, node.phase)}`}`
        return (
          <Go key={node.id} to="/machines/$node" params={{ node: node.id }} data-tone={tone(node.status === 'alive' ? node.phase : node.status)} aria-label={told} title={told}>
            <span className="status">
              <Mark tone={tone(node.status === 'alive' ? node.phase : node.status)} />
              {!isDense && node.name}
            </span>
          </Go>
        )
      })}
    </div>
  )
}

export interface Bar {
  key: string
  label: string
  value: number
  before?: number
  text: string
}

/** A bar for each; with `before`, that one above it. */
export function Bars({ bars, label }: { bars: Bar[]; label: string }) {
  const most = Math.max(1, ...bars.flatMap((bar) => [bar.value, bar.before ?? 0]))
  return (
    <div className="bars" role="list" aria-label={label}>
      {bars.map((bar) => (
        <div key={bar.key} role="listitem" style={{ display: 'contents' }}>
          <span>{bar.label}</span>
          <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
            {bar.before !== undefined && <rect x="0" y="0" height="4.4" width={(bar.before / most) * 100} fill="var(--bar-before)" />}
            <rect x="0" y={bar.before === undefined ? 1 : 5.4} height={bar.before === undefined ? 8 : 4.4} width={(bar.value / most) * 100} fill="var(--bar)" />
          </svg>
          <span>{bar.text}</span>
        </div>
      ))}
    </div>
  )
}

/** A share of what is possible, in percent, as a bar that warns as it fills. */
export function Meter({ pct }: { pct: number }) {
  return (
    <svg className="meter" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" data-tone={pct > 100 ? 'bad' : pct > 80 ? 'warn' : 'good'}>
      <rect width="100" height="6" rx="2" />
      <rect width={Math.min(100, pct)} height="6" rx="2" />
    </svg>
  )
}

/** From one stage to the next, with what passes. */
const Arrow = ({ text }: { text?: string }) => (
  <span className="arrow">
    {text}
    <svg viewBox="0 0 60 8" preserveAspectRatio="xMaxYMid slice">
      <path d="M0 4h59m-6 -4l6 4l-6 4" />
    </svg>
  </span>
)

/** reader → parse → transform → senders, with what passes: side by side, or below each other where that is too narrow. */
export function Pipeline({ spec, read, sent }: { spec: RunnerSpec; read: string; sent: string }) {
  const { t } = useWords()
  const stages: { title: string; word: string }[] = [
    { title: t('reader'), word: spec.reader.type },
    { title: t('parse'), word: spec.parse && spec.parse.type !== 'raw' ? spec.parse.type : t('raw') },
    { title: t('transform'), word: spec.transform?.vrl ? 'VRL' : t('no_transform') },
  ]
  const told = [...stages.map((stage) => `${stage.title}: ${stage.word}`), ...spec.senders.map((sender) => `${t('senders')}: ${sender.name} (${sender.type})`)].join(' → ')
  return (
    <div className="pipeline" role="img" aria-label={`${told}; ${read}, ${sent}`}>
      {stages.map((stage, at) => (
        <Fragment key={stage.title}>
          <span className="stage">
            {stage.word}
            <small>{stage.title}</small>
          </span>
          <Arrow text={at === 0 ? read : at === 2 ? sent : undefined} />
        </Fragment>
      ))}
      <span className="sinks">
        {spec.senders.map((sender) => (
          <span className="stage" key={sender.name}>
            {sender.name}
            <small>{sender.type}</small>
          </span>
        ))}
      </span>
    </div>
  )
}
