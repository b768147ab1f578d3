import { Alert, Button, Group, NativeSelect, Stack, Text } from '@mantine/core'
import { useEffect, useState } from 'react'
import { asProblem, authorization, Failure, type TapRow } from '../api/client'
import { StreamParser } from '../api/stream'
import { Trouble } from '../components/Remote'
import { useWords } from '../components/words'

/** Records shown: what a person can look at. */
const SHOWN = 50
const STAGES = ['read', 'parse', 'transform', 'send'] as const

type Shown = { key: number; row: TapRow } | { key: number; word: string }

/** Records on their way through a runner, from the nodes that have them, as they pass one stage. */
export function Tap({ runner }: { runner: string }) {
  const { t } = useWords()
  const [stage, setStage] = useState<(typeof STAGES)[number]>('send')
  const [isOn, setOn] = useState(false)
  const [shown, setShown] = useState<Shown[]>([])
  const [error, setError] = useState<Error>()
  useEffect(() => {
    if (!isOn) return
    const stop = new AbortController()
    let key = 0
    setError(undefined)
    setShown([])
    const put = (next: Shown) => setShown((before) => [next, ...before].slice(0, SHOWN))
    tap(runner, stage, stop.signal, (event, data) => {
      key += 1
      put(event === 'record' ? { key, row: JSON.parse(data) as TapRow } : { key, word: wordOf(event, data) })
    })
      .catch((error: unknown) => {
        if (!stop.signal.aborted) setError(error instanceof Error ? error : new Error(String(error)))
      })
      .finally(() => {
        if (!stop.signal.aborted) setOn(false)
      })
    return () => stop.abort()
  }, [isOn, runner, stage])
  return (
    <Stack gap="sm">
      <Group align="end">
        <NativeSelect size="xs" label={t('stage')} value={stage} onChange={(event) => setStage(event.currentTarget.value as typeof stage)} data={[...STAGES]} />
        <Button size="xs" variant="default" onClick={() => setOn(!isOn)}>
          {t(isOn ? 'tap_stop' : 'tap_start')}
        </Button>
      </Group>
      {error && <Trouble error={error} />}
      {isOn && shown.length === 0 && (
        <Alert variant="outline" color="gray" role="status">
          {t('tap_waits')}
        </Alert>
      )}
      <ul className="events scrolls" aria-label={t('tap')} tabIndex={0}>
        {shown.map((one) => (
          <li key={one.key}>
            {'row' in one ? (
              <>
                <Text span size="xs" c="dimmed">
                  {one.row.node_name} · {one.row.source}
                  {one.row.sender ? ` · ${one.row.sender}` : ''}
                </Text>
                <code className="record">{one.row.line ?? JSON.stringify(one.row.record)}</code>
              </>
            ) : (
              <Text span size="xs" c="dimmed">
                {one.word}
              </Text>
            )}
          </li>
        ))}
      </ul>
    </Stack>
  )
}

/** `skipped`, `trouble` and `end`, in the node's words. */
function wordOf(event: string, data: string): string {
  const { node_name, detail } = JSON.parse(data) as { node_name?: string | null; detail?: string }
  return [node_name, `${event}: ${detail ?? ''}`].filter(Boolean).join(' · ')
}

async function tap(runner: string, stage: string, signal: AbortSignal, tell: (event: string, data: string) => void) {
  const query = new URLSearchParams({ stage })
  const answer = await fetch(`/v1/runners/${encodeURIComponent(runner)}/tap?${query}`, { headers: { accept: 'text/event-stream', ...authorization() }, signal })
  if (!answer.ok || !answer.body) throw new Failure(asProblem(await answer.json().catch(() => undefined), answer.status))
  const parser = new StreamParser()
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    for (const message of parser.push(value)) tell(message.event, message.data)
  }
}
