import Kernel
import TestSupport
import Testing

/// Clients that attach too late: what a container wrote is in its log, and an error here makes kubectl print that twice.
@Suite struct CRIAttachTests {
  @Test func attachToAContainerThatHasEndedIsAnEmptyStreamThatEndsAtOnce() async throws {
    try await CRINode.with { node, _ in
      try await StrangersClient.run(Self.program, on: node, says: "attached to what had ended")
    }
  }

  private static let program = #"""
    import time
    config = {'metadata': {'name': 'late', 'uid': 'u', 'namespace': 'default'}, 'log_directory': path + '/logs/late',
              'linux': {'security_context': {'namespace_options': {'pid': 1}}}}
    pod = call('RunPodSandbox', {'config': config})['pod_sandbox_id']
    def make(name, script, **more):
        container = {'metadata': {'name': name}, 'image': {'image': 'localhost/busybox:test'},
                     'command': ['sh', '-c', script], 'log_path': name + '.log', 'stdin': True, 'stdin_once': True,
                     'linux': {'security_context': {'namespace_options': {'pid': 1}}}}
        container.update(more)
        return call('CreateContainer', {'pod_sandbox_id': pod, 'config': container, 'sandbox_config': config})['container_id']
    def start(*args, **more):
        id = make(*args, **more); call('StartContainer', {'container_id': id}); return id
    def ended(id):
        deadline = time.monotonic() + 10
        while call('ContainerStatus', {'container_id': id})['status'].get('state', 0) != 2:
            assert time.monotonic() < deadline; time.sleep(0.01)
        return id
    def ask(id, **more): return dict({'container_id': id, 'stdin': True, 'stdout': True, 'stderr': True}, **more)
    def nothing_comes(url, *protocols):
        begun = time.monotonic()
        web = WebSocket(url, protocols[0]); assert web.status == '101', web.status
        web.send(b'\x00too late\n')
        seen = web.until(lambda seen: False)
        assert list(seen) == [3] and json.loads(seen[3])['status'] == 'Success', seen
        assert time.monotonic() - begun < 5
        web.socket.close()

    # As `kubectl run --rm -i` does it with a command that ends at once: what it wrote is in the log, once.
    id = ended(start('short', 'echo told; exit 3'))
    nothing_comes(call('Attach', ask(id))['url'], 'v5.channel.k8s.io')
    nothing_comes(call('Attach', ask(id))['url'], 'v4.channel.k8s.io')
    assert open(path + '/logs/late/short.log').read().count('told') == 1
    assert call('ContainerStatus', {'container_id': id})['status']['exit_code'] == 3
    # A terminal, also.
    terminal = ended(start('terminal', 'echo told', tty=True))
    url = call('Attach', ask(terminal, tty=True, stderr=False))['url']
    nothing_comes(url, 'v5.channel.k8s.io')

    # It ends between the answer and the connection.
    running = start('running', 'sleep 1000')
    url = call('Attach', ask(running))['url']
    call('StopContainer', {'container_id': running, 'timeout': 0})
    nothing_comes(url, 'v5.channel.k8s.io')

    # What is no late client's fault stays an error: never started, written nowhere, gone, or a command to be run there.
    refused('Attach', ask(make('created', 'true')), 'FAILED_PRECONDITION')
    refused('Attach', ask(ended(start('unlogged', 'true', log_path=''))), 'FAILED_PRECONDITION')
    assert 'not running' in refused('Exec', dict(ask(id), cmd=['true']), 'FAILED_PRECONDITION')
    call('RemoveContainer', {'container_id': id})
    refused('Attach', ask(id), 'NOT_FOUND')
    call('RemovePodSandbox', {'pod_sandbox_id': pod})
    print('attached to what had ended')
    """#
}
