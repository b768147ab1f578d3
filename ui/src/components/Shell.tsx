import { Alert, AppShell, Burger, Button, CloseButton, Group, Modal, NativeSelect, PasswordInput, Stack, Text, Title, useMantineColorScheme, type MantineColorScheme } from '@mantine/core'
import { useDisclosure } from '@mantine/hooks'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Outlet, useRouterState } from '@tanstack/react-router'
import { useEffect, useState } from 'react'
import { Failure, token } from '../api/client'
import { useEventStream, useStream } from '../api/events'
import { nodes, self } from '../api/queries'
import { elsewhere, others } from '../logic/failover'
import type { Language } from '../text'
import { Go, GoNav } from './Go'
import { Mark } from './Status'
import { hasKept } from './useKept'
import { useNow } from './useNow'
import { useWords } from './words'

const PAGES = [
  { to: '/', key: 'overview' },
  { to: '/machines', key: 'machines' },
  { to: '/tags', key: 'tags' },
  { to: '/runners', key: 'runners' },
  { to: '/sources', key: 'sources' },
  { to: '/operations', key: 'operations' },
] as const

/** How long a node may be silent before the page says so, and then until it goes elsewhere by itself. */
const DOUBT_MS = 4000
const LEAVE_MS = 6000

export function Shell() {
  const { t, language, setLanguage } = useWords()
  const [opened, menu] = useDisclosure()
  const { colorScheme, setColorScheme } = useMantineColorScheme()
  const me = useQuery(self)
  const state = useStream().state
  const path = useRouterState({ select: (state) => state.location.pathname })
  useEventStream()
  // On to another page: the menu of a small screen has done its work.
  useEffect(menu.close, [path])
  useEffect(() => {
    document.title = `${me.data ? `${me.data.name} · ` : ''}logvine`
  }, [me.data])
  return (
    <AppShell header={{ height: 56 }} navbar={{ width: 190, breakpoint: 'sm', collapsed: { mobile: !opened } }} padding="md" transitionDuration={0}>
      <a className="skip" href="#main">
        {t('skip')}
      </a>
      <AppShell.Header px="md">
        <Group h="100%" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={opened} onClick={menu.toggle} hiddenFrom="sm" size="sm" aria-label={t('menu')} />
            <Text fw={700}>logvine</Text>
            {me.data && (
              <Text size="sm" c="dimmed" visibleFrom="sm">
                {t('served_by', { node: me.data.name })} · {t('cluster_id', { id: me.data.cluster })}
              </Text>
            )}
          </Group>
          <Text size="sm" className="status" role="status">
            <Mark tone={state === 'open' ? 'good' : 'warn'} />
            <Text span size="sm" visibleFrom={state === 'open' ? undefined : 'sm'}>
              {state === 'open' ? t('stream_open') : t('stream_lost')}
            </Text>
          </Text>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs">
        <nav aria-label={t('menu')} style={{ flex: 1 }}>
          {PAGES.map((page) => (
            <GoNav key={page.to} to={page.to} label={t(page.key)} active={page.to === '/' ? path === '/' : path.startsWith(page.to)} variant="filled" />
          ))}
        </nav>
        <Stack gap="xs" p="xs">
          <NativeSelect
            size="xs"
            label={t('language')}
            value={language}
            onChange={(event) => setLanguage(event.currentTarget.value as Language)}
            data={[
              { value: 'en', label: 'English' },
              { value: 'zh', label: '中文' },
            ]}
          />
          <NativeSelect
            size="xs"
            label={t('scheme')}
            value={colorScheme}
            onChange={(event) => setColorScheme(event.currentTarget.value as MantineColorScheme)}
            data={(['auto', 'light', 'dark'] as const).map((value) => ({ value, label: t(value) }))}
          />
        </Stack>
      </AppShell.Navbar>
      <AppShell.Main id="main" tabIndex={-1}>
        <Arrived />
        <Lost />
        <Outlet />
      </AppShell.Main>
      <SignIn />
    </AppShell>
  )
}

const FROM = '#from='

/** Tells, once, that the page came from a node that stopped answering. */
function Arrived() {
  const { t } = useWords()
  const [from, setFrom] = useState(() => (location.hash.startsWith(FROM) ? decodeURIComponent(location.hash.slice(FROM.length)) : undefined))
  const me = useQuery(self).data
  if (!from || !me) return null
  const close = () => {
    setFrom(undefined)
    history.replaceState(history.state, '', location.pathname + location.search)
  }
  return (
    <Alert color="orange" variant="outline" mb="md" role="status">
      <Group justify="space-between" wrap="nowrap">
        <Text size="sm">{t('moved_here', { from, node: me.name })}</Text>
        <CloseButton aria-label={t('close')} onClick={close} />
      </Group>
    </Alert>
  )
}

/** The node that serves this page is silent: says so, and goes on at the same place on another. */
function Lost() {
  const { t } = useWords()
  const now = useNow()
  const state = useStream().state
  const known = useQuery({ ...nodes, refetchInterval: false }).data ?? []
  const [stays, setStays] = useState(false)
  const lostSince = typeof state === 'object' && state.refused === undefined ? state.lostSince : undefined
  const silent = lostSince === undefined ? 0 : now - lostSince
  const isLost = silent > DOUBT_MS
  const next = isLost ? others(known, location)[0] : undefined
  const rest = Math.ceil((DOUBT_MS + LEAVE_MS - silent) / 1000)
  const mine = known.find((node) => node.me)?.name ?? location.host
  const go = () => next && location.assign(`${next.url}${FROM}${encodeURIComponent(mine)}`)
  // What was typed lies at this address; nobody is taken away from it unasked.
  const isHeld = stays || hasKept()
  const isDue = next !== undefined && rest <= 0 && !isHeld
  useEffect(() => {
    if (isDue) go()
  }, [isDue])
  useEffect(() => {
    if (!isLost) setStays(false)
  }, [isLost])
  if (!isLost) return null
  return (
    <Alert color="red" variant="outline" mb="md" role="alert" title={t('lost_title', { node: mine })}>
      <Stack gap="xs" align="flex-start">
        <Text size="sm">{t('lost_trying')}</Text>
        {next && (
          <>
            {!isHeld && <Text size="sm">{t('lost_going', { node: next.name, n: Math.max(rest, 0) })}</Text>}
            {hasKept() && <Text size="sm">{t('lost_kept', { node: next.name })}</Text>}
            {token.get() !== '' && <Text size="sm">{t('lost_token', { node: next.name })}</Text>}
            <Group gap="xs">
              <Button size="xs" onClick={go}>
                {t('lost_go')}
              </Button>
              {!isHeld && (
                <Button size="xs" variant="default" onClick={() => setStays(true)}>
                  {t('lost_stay')}
                </Button>
              )}
            </Group>
          </>
        )}
        {!next && <Text size="sm">{elsewhere(known).length > 0 ? `${t('lost_nowhere')} ${elsewhere(known).join(', ')}` : t('lost_none')}</Text>}
      </Stack>
    </Alert>
  )
}

/** Asks for a token where the node wants one. */
function SignIn() {
  const { t } = useWords()
  const client = useQueryClient()
  const { error, isFetching } = useQuery(self)
  const [typed, setTyped] = useState('')
  const [isEmpty, setEmpty] = useState(false)
  const isAsked = error instanceof Failure && error.problem?.status === 401
  const open = () => {
    setEmpty(typed.trim() === '')
    if (typed.trim() === '') return
    token.set(typed.trim())
    void client.invalidateQueries()
  }
  const isNew = location.hash.startsWith(FROM)
  const wrong = token.get() !== '' && !isFetching ? t('token_wrong') : undefined
  return (
    <Modal opened={isAsked} onClose={() => undefined} withCloseButton={false} title={t('token_title')}>
      <form onSubmit={(event) => (event.preventDefault(), open())}>
        <Stack>
          <PasswordInput
            label={t('token_label')}
            description={isNew ? `${t('token_again')} ${t('token_help')}` : t('token_help')}
            value={typed}
            error={isEmpty ? t('token_empty') : wrong}
            onChange={(event) => setTyped(event.currentTarget.value)}
            autoComplete="off"
            data-autofocus
          />
          <Button type="submit" loading={isFetching}>
            {t('open')}
          </Button>
        </Stack>
      </form>
    </Modal>
  )
}

export function NotFound() {
  const { t } = useWords()
  return (
    <Stack>
      <Title order={1}>404</Title>
      <Text>{t('not_found')}</Text>
      <Go to="/">{t('overview')}</Go>
    </Stack>
  )
}
