import { Button, Group, NativeSelect, Stack, Text, Textarea } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { keepPreviousData, useMutation, useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { api, ask, type RunnerSpec, type Tried, type TryBody } from '../api/client'
import { nodes } from '../api/queries'
import { Trouble } from '../components/Remote'
import { useWords } from '../components/words'
import { tryable } from '../logic/draft'
import { Panel } from './Overview'

/** After the last key: a node compiles the program for each look. */
const PAUSE_MS = 400
/** The most that a node takes at once. */
const LINES_MAX = 100

/**
 * Tries a runner before it is saved: lines read on the node that would read them, or typed, with what the stages make of each as the runner is edited;
 * and its senders, where `isWhole`. Not `shown`, it keeps its lines and asks nothing.
 */
export function Try({ spec, isWhole, shown }: { spec: RunnerSpec; isWhole: boolean; shown: boolean }) {
  const { t } = useWords()
  const known = (useQuery(nodes).data ?? []).filter((node) => node.status === 'alive')
  const [node, setNode] = useState('')
  const [text, setText] = useState('')
  const body: TryBody = { runner: tryable(spec), node: node || undefined }
  const lines = text.split('\n').filter((line) => line !== '').slice(0, LINES_MAX)
  const [asked] = useDebouncedValue(JSON.stringify({ ...body, lines }), PAUSE_MS)
  const read = useMutation({
    // A program that does not compile yet must not hinder the look at the lines.
    mutationFn: () => ask(api.POST('/v1/try/read', { body: { ...body, runner: { ...body.runner, parse: undefined, transform: undefined }, count: 10 } })),
    onSuccess: (tried) => setText((tried.records ?? []).map((record) => record.line).join('\n')),
  })
  const send = useMutation({ mutationFn: () => ask(api.POST('/v1/try/send', { body })) })
  const made = useQuery({
    queryKey: ['try', asked],
    queryFn: () => ask(api.POST('/v1/try/transform', { body: JSON.parse(asked) as TryBody })),
    enabled: shown && lines.length > 0,
    placeholderData: keepPreviousData,
    retry: false,
    staleTime: Number.POSITIVE_INFINITY,
  })
  if (!shown) return null
  return (
    <Panel title={t('try_title')}>
      <Stack gap="sm">
        <Group align="end">
          <NativeSelect
            label={t('try_node')}
            value={node}
            onChange={(event) => setNode(event.currentTarget.value)}
            data={[{ value: '', label: t('here') }, ...known.filter((row) => !row.me).map((row) => ({ value: row.id, label: row.name }))]}
          />
          <Button variant="default" onClick={() => read.mutate()} loading={read.isPending}>
            {t('try_read')}
          </Button>
          {isWhole && (
            <Button variant="default" onClick={() => send.mutate()} loading={send.isPending}>
              {t('try_send')}
            </Button>
          )}
        </Group>
        {read.error && <Trouble error={read.error} />}
        {read.data && <ReadWord tried={read.data} />}
        {send.error && <Trouble error={send.error} />}
        {send.data && <Errors of={send.data} fine={t('try_senders_fine')} />}
        <Textarea
          className="mono"
          label={t('try_lines')}
          description={t('try_lines_help')}
          autosize
          minRows={2}
          maxRows={6}
          spellCheck={false}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
        />
        {lines.length > 0 && made.error && <Trouble error={made.error} />}
        {lines.length > 0 && !made.error && made.data && <Made tried={made.data} />}
      </Stack>
    </Panel>
  )
}

function ReadWord({ tried }: { tried: Tried }) {
  const { t } = useWords()
  const isEmpty = (tried.records ?? []).length === 0
  return (
    <Stack gap={4} role="status">
      {tried.source && <Text size="sm">{t(isEmpty ? 'try_read_empty' : 'try_read_from', { source: tried.source })}</Text>}
      <Errors of={tried} />
    </Stack>
  )
}

function Errors({ of, fine }: { of: Tried; fine?: string }) {
  const errors = of.errors ?? []
  return (
    <>
      {errors.map((error) => (
        <Text size="sm" c="var(--bad)" key={error} role="alert">
          {error}
        </Text>
      ))}
      {errors.length === 0 && fine && (
        <Text size="sm" role="status">
          {fine}
        </Text>
      )}
    </>
  )
}

/** Each line, and what a sender would get for it. */
function Made({ tried }: { tried: Tried }) {
  const { t } = useWords()
  return (
    <Stack gap={4}>
      <Text size="sm" fw={600}>
        {t('try_result')}
      </Text>
      <Errors of={tried} />
      <ul className="events scrolls" aria-label={t('try_result')} tabIndex={0}>
        {(tried.records ?? []).map((record, at) => (
          <li key={at}>
            <code className="record quiet">{record.line}</code>
            {record.error && (
              <Text size="sm" c="var(--bad)">
                {record.error}
              </Text>
            )}
            {(record.record ?? record.parsed) && <pre className="record">{JSON.stringify(record.record ?? record.parsed, null, 1)}</pre>}
          </li>
        ))}
      </ul>
    </Stack>
  )
}
