import { Alert, Button, Fieldset, Group, NativeSelect, Stack, Stepper, Tabs, Text, Textarea, TextInput, Title } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { getRouteApi, useNavigate } from '@tanstack/react-router'
import { type ReactNode, useEffect, useState } from 'react'
import { api, ask, Failure, type RunnerSpec, type RunnerView, type Written } from '../api/client'
import { runner as runnerQuery } from '../api/queries'
import { Barred, Outcome, Targets, useRoleBar } from '../components/Act'
import { Go } from '../components/Go'
import { Remote, Trouble } from '../components/Remote'
import { useKept } from '../components/useKept'
import { useWords } from '../components/words'
import { type Draft, type DraftSender, draftOf, emptyDraft, specOf } from '../logic/draft'
import { Panel } from './Overview'
import { Try } from './Try'

const createRoute = getRouteApi('/create')
const editRoute = getRouteApi('/runners/$runner/edit')

export function Create() {
  const { tag } = createRoute.useSearch()
  return <Editor place={`draft:${tag ?? ''}`} draft={emptyDraft(tag)} spec={undefined} revision={undefined} />
}

export function Edit() {
  const { runner } = editRoute.useParams()
  const of = useQuery({ ...runnerQuery(runner), refetchInterval: false, refetchOnWindowFocus: false })
  return <Remote of={of}>{(view) => <Opened view={view} />}</Remote>
}

/** The runner as it was when it was opened; looks that come later do not touch what is being typed. */
function Opened({ view }: { view: RunnerView }) {
  const [opened] = useState(view)
  return <Editor place={`draft@${opened.name}@${opened.spec_revision}`} draft={draftOf(opened.spec)} spec={opened.spec} revision={opened.spec_revision} />
}

interface Work {
  draft: Draft | null
  /** Where it is set, the raw form is what counts. */
  raw: string | undefined
}

/** Steps of the guide. */
const PARSE = 1
const CHECK = 4

const pretty = (spec: RunnerSpec) => JSON.stringify(spec, null, 2)

function Editor({ place, draft, spec, revision }: { place: string; draft: Draft | null; spec: RunnerSpec | undefined; revision: string | undefined }) {
  const { t } = useWords()
  const navigate = useNavigate()
  const client = useQueryClient()
  const bar = useRoleBar()
  // What the guide cannot say is edited as it is written.
  const [work, keep, drop] = useKept<Work>(place, { draft, raw: draft === null && spec ? pretty(spec) : undefined })
  const [step, setStep] = useState(0)
  const [written, setWritten] = useState<{ answer: Written; name: string }>()
  const [against, setAgainst] = useState(revision)
  const guided = work.raw === undefined && work.draft !== null
  const { spec: said, faults, jsonError } = useSaid(work)
  const name = spec?.name ?? said?.name ?? ''
  const apply = (dry_run: boolean) =>
    ask(
      api.PUT('/v1/runners/{runner}', {
        params: { path: { runner: name }, query: { dry_run } },
        headers: against && !dry_run ? { 'if-match': `"${against}"` } : {},
        body: said as RunnerSpec,
      }),
    )
  const checked = useMutation({ mutationFn: () => apply(true) })
  const saved = useMutation({
    mutationFn: () => apply(false),
    onSuccess: (answer) => {
      drop()
      setWritten({ answer, name })
      void client.invalidateQueries()
    },
    onError: async (error) => {
      // The next save says that it knows.
      if (error instanceof Failure && error.problem?.status === 412) setAgainst((await ask(api.GET('/v1/runners/{runner}', { params: { path: { runner: name } } }))).spec_revision)
    },
  })
  const key = JSON.stringify(said)
  // A plan belongs to the spec that it was asked for.
  useEffect(checked.reset, [key])
  const problems: { at: string; text: string }[] = [
    ...faults.map((fault) => ({ at: fault.at, text: t(fault.key, fault.values) })),
    ...[checked.error, saved.error].flatMap((error) => (error instanceof Failure ? (error.problem?.errors ?? []).map((fault) => ({ at: fault.pointer, text: fault.detail })) : [])),
  ]
  if (written)
    return (
      <Stack>
        <Title order={1} size="h3">
          {t('saved')}
        </Title>
        <Outcome written={written.answer} onClose={() => void navigate({ to: '/runners/$runner', params: { runner: written.name } })} />
      </Stack>
    )
  const isReady = said !== undefined && faults.length === 0 && name !== ''
  const check = () => {
    setStep(CHECK)
    if (isReady) checked.mutate()
  }
  const footer = (
    <Stack>
      {jsonError && <Alert color="red" variant="outline" role="alert">{t('json_bad', { reason: jsonError })}</Alert>}
      {step === CHECK && faults.length > 0 && (
        <Alert color="red" variant="outline" role="alert">
          {problems.map((problem, at) => (
            <Text size="sm" key={at}>
              <code>{problem.at}</code> {problem.text}
            </Text>
          ))}
        </Alert>
      )}
      {checked.error && <Trouble error={checked.error} />}
      {saved.error && <Trouble error={saved.error} />}
      {saved.error instanceof Failure && saved.error.problem?.status === 412 && <Text size="sm">{t('changed_meanwhile')}</Text>}
      {checked.data && (
        <Panel title={t('plan_who', { n: checked.data.targets.length })}>{checked.data.targets.length === 0 ? t('plan_none') : <Targets rows={checked.data.targets} />}</Panel>
      )}
      <Group>
        <Button variant="default" onClick={check} loading={checked.isPending} disabled={jsonError !== undefined}>
          {t('check')}
        </Button>
        <Barred
          size="sm"
          variant="filled"
          barred={bar ?? (!isReady ? t('save_not_ready') : !checked.data ? t('save_unchecked') : undefined)}
          onClick={() => saved.mutate()}
          loading={saved.isPending}
        >
          {t('save')}
        </Barred>
        <Button variant="subtle" color="gray" onClick={drop}>
          {t('throw_away')}
        </Button>
      </Group>
      <Text size="xs" c="dimmed">
        {t('draft_kept')}
      </Text>
    </Stack>
  )
  return (
    <Stack>
      <Go to="/runners" size="sm">
        ← {t('runners')}
      </Go>
      <Title order={1} size="h3">
        {spec ? t('edit_title', { name }) : t('create')}
      </Title>
      <Tabs
        value={guided ? 'guide' : 'raw'}
        onChange={(tab) => {
          if (tab === 'raw' && said) keep({ draft: work.draft, raw: pretty(said) })
          if (tab === 'guide' && said) {
            const back = draftOf(said)
            if (back) keep({ draft: back, raw: undefined })
          }
        }}
      >
        <Tabs.List mb="md">
          <Tabs.Tab value="guide" disabled={!guided && (said === undefined || draftOf(said) === null)}>
            {t('guide')}
          </Tabs.Tab>
          <Tabs.Tab value="raw">{t('raw_form')}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="guide">
          {work.draft && guided && (
            <Guide draft={work.draft} onChange={(draft) => keep({ draft, raw: undefined })} isNew={!spec} step={step} setStep={setStep} faults={problems} footer={footer} onCheck={check} />
          )}
        </Tabs.Panel>
        <Tabs.Panel value="raw">
          {!guided && (
            <Stack>
              {said && draftOf(said) === null && <Text size="sm">{t('guide_barred')}</Text>}
              <Textarea
                className="mono"
                label={t('spec')}
                autosize
                minRows={16}
                maxRows={34}
                spellCheck={false}
                value={work.raw ?? ''}
                onChange={(event) => keep({ draft: work.draft, raw: event.currentTarget.value })}
              />
              {footer}
            </Stack>
          )}
        </Tabs.Panel>
      </Tabs>
      {said && !bar && <Try spec={said} isWhole={isReady} shown={!guided || step === PARSE || step === CHECK} />}
    </Stack>
  )
}

function useSaid(work: Work): { spec: RunnerSpec | undefined; faults: ReturnType<typeof specOf>['faults']; jsonError: string | undefined } {
  if (work.raw === undefined && work.draft) return { ...specOf(work.draft), jsonError: undefined }
  try {
    return { spec: JSON.parse(work.raw ?? '') as RunnerSpec, faults: [], jsonError: undefined }
  } catch (error) {
    return { spec: undefined, faults: [], jsonError: error instanceof Error ? error.message : String(error) }
  }
}

/** Another reader, with the placement that goes with it: a node's own files are read by every node, a URL by one of them. */
const readBy = (reader: Draft['reader']): Partial<Draft> => ({ reader, placement: reader === 'file' ? 'every' : 'spread' })

interface GuideProps {
  draft: Draft
  onChange: (draft: Draft) => void
  isNew: boolean
  step: number
  setStep: (step: number) => void
  faults: { at: string; text: string }[]
  footer: ReactNode
  onCheck: () => void
}

function Guide({ draft, onChange, isNew, step, setStep, faults, footer, onCheck }: GuideProps) {
  const { t } = useWords()
  // Nobody is told of what he has not come to yet: faults show once a check was asked for.
  const [told, setTold] = useState(false)
  const fault = (at: string) => (told ? faults.find((fault) => fault.at === at)?.text : undefined)
  const set = (change: Partial<Draft>) => onChange({ ...draft, ...change })
  const sender = (at: number, change: Partial<DraftSender>) => set({ senders: draft.senders.map((old, place) => (place === at ? { ...old, ...change } : old)) })
  const text = (key: 'name' | 'pattern' | 'time' | 'timeLayout' | 'format' | 'selection', label: string, at: string, disabled = false) => (
    <TextInput label={label} value={draft[key]} error={fault(at)} disabled={disabled} onChange={(event) => set({ [key]: event.currentTarget.value })} />
  )
  const steps = [
    <Stack key="source">
      {text('name', t('name'), '/name', !isNew)}
      <NativeSelect label={t('reader')} value={draft.reader} onChange={(event) => set(readBy(event.currentTarget.value as Draft['reader']))} data={['file', 'http']} />
      {draft.reader === 'file' ? (
        <Textarea className="mono" label={t('paths')} autosize minRows={3} value={draft.paths} error={fault('/reader/paths')} onChange={(event) => set({ paths: event.currentTarget.value })} />
      ) : (
        <Textarea className="mono" label={t('source_urls')} autosize minRows={4} value={draft.sources} error={fault('/sources')} onChange={(event) => set({ sources: event.currentTarget.value })} />
      )}
      <NativeSelect
        label={t('start_at')}
        value={draft.startAt}
        onChange={(event) => set({ startAt: event.currentTarget.value as Draft['startAt'] })}
        data={[{ value: 'beginning', label: t('beginning') }, { value: 'end', label: t('end') }]}
      />
    </Stack>,
    <Stack key="parse">
      <NativeSelect
        label={t('parse')}
        value={draft.parse}
        onChange={(event) => set({ parse: event.currentTarget.value as Draft['parse'] })}
        data={[{ value: 'raw', label: t('raw') }, 'json', 'nginx', 'regex']}
      />
      {draft.parse === 'regex' && text('pattern', t('pattern'), '/parse/pattern')}
      {(draft.parse === 'regex' || draft.parse === 'json') && text('time', t('time_field'), '/parse/time')}
      {draft.parse === 'regex' && text('timeLayout', t('time_layout'), '/parse/time_layout')}
      {draft.parse === 'nginx' && text('format', t('nginx_format'), '/parse/format')}
      <Textarea
        className="mono"
        label={t('vrl')}
        description={t('vrl_help')}
        autosize
        minRows={5}
        spellCheck={false}
        value={draft.vrl}
        error={fault('/transform/vrl')}
        onChange={(event) => set({ vrl: event.currentTarget.value })}
      />
    </Stack>,
    <Stack key="send">
      {draft.senders.map((one, at) => (
        <Fieldset key={at} legend={`${t('senders')} ${at + 1}`}>
          <Stack gap="xs">
            <TextInput label={t('sender_name')} value={one.name} error={fault(`/senders/${at}/name`)} onChange={(event) => sender(at, { name: event.currentTarget.value })} />
            <NativeSelect label={t('sender_type')} value={one.type} onChange={(event) => sender(at, { type: event.currentTarget.value as DraftSender['type'] })} data={['file', 'http', 'stdout']} />
            {one.type === 'file' && <TextInput label={t('sender_path')} value={one.path} error={fault(`/senders/${at}/path`)} onChange={(event) => sender(at, { path: event.currentTarget.value })} />}
            {one.type === 'http' && <TextInput label={t('sender_url')} value={one.url} error={fault(`/senders/${at}/url`)} onChange={(event) => sender(at, { url: event.currentTarget.value })} />}
            {draft.senders.length > 1 && (
              <Button size="compact-xs" variant="default" w="max-content" onClick={() => set({ senders: draft.senders.filter((_, place) => place !== at) })}>
                {t('remove_sender', { name: one.name })}
              </Button>
            )}
          </Stack>
        </Fieldset>
      ))}
      <Button variant="default" w="max-content" onClick={() => set({ senders: [...draft.senders, { name: `out-${draft.senders.length + 1}`, type: 'file', path: '', url: '' }] })}>
        {t('add_sender')}
      </Button>
    </Stack>,
    <Stack key="place">
      <NativeSelect
        label={t('place_kind')}
        value={draft.placement}
        onChange={(event) => set({ placement: event.currentTarget.value as Draft['placement'] })}
        data={[{ value: 'every', label: t('every') }, { value: 'spread', label: t('spread') }]}
      />
      <TextInput label={t('selection')} description={t('filter_selector_help')} value={draft.selection} error={fault('/placement')} onChange={(event) => set({ selection: event.currentTarget.value })} />
    </Stack>,
    footer,
  ]
  const titles = [t('step_source'), t('step_parse'), t('step_send'), t('step_place'), t('step_check')]
  const to = (next: number) => {
    if (next < CHECK) return setStep(next)
    setTold(true)
    onCheck()
  }
  return (
    <Stack>
      <Stepper active={step} onStepClick={to} size="xs" className="steps" wrap={false}>
        {titles.map((title) => (
          <Stepper.Step key={title} label={title} />
        ))}
      </Stepper>
      <div className="form">{steps[step]}</div>
      <Group>
        {step > 0 && (
          <Button variant="default" onClick={() => to(step - 1)}>
            {t('back')}
          </Button>
        )}
        {step < CHECK && <Button onClick={() => to(step + 1)}>{t('next')}</Button>}
      </Group>
    </Stack>
  )
}
