import Kernel
import TestSupport
import Testing

/// Every call of both services, by gRPC for Python with a codec that reads nothing but the interface's definition: what the
/// server sends beyond it is an error, and so is a call that nobody made.
@Suite struct CRIEveryCallTests {
  @Test func aStrangersClientMakesEveryCallOfBothServices() async throws {
    try await CRINode.with { node, _ in
      try await StrangersClient.run(Self.program, on: node, says: "41 calls, none left out")
    }
  }

  private static let program = #"""
    assert call('Version', {'version': 'v1'})['runtime_name'] == 'martlet'
    ready = call('Status', {'verbose': True})
    assert {c['type']: c.get('status') for c in ready['status']['conditions']} == {'RuntimeReady': 1, 'NetworkReady': 1}, ready
    assert call('RuntimeConfig')['linux']['cgroup_driver'] == 1
    call('UpdateRuntimeConfig', {'runtime_config': {'network_config': {'pod_cidr': ''}}})

    # Images: pulled from a registry of this process, found, listed whole and in parts, removed.
    name = serve(path + '/image.tar') + '/some/busybox:1'
    before = call('ListImages').get('images', [])
    reference = call('PullImage', {'image': {'image': name}})['image_ref']
    found = call('ImageStatus', {'image': {'image': name}, 'verbose': True})['image']
    assert name in found['repo_tags'] and reference in (found['id'], found['repo_digests'][0]), (reference, found)
    listed = call('ListImages', {'filter': {'image': {'image': name}}})['images']
    assert [each['id'] for each in listed] == [found['id']]
    assert [i['id'] for i in whole('StreamImages', 'images')] == [i['id'] for i in call('ListImages')['images']]
    usage = call('ImageFsInfo')
    assert usage['image_filesystems'][0]['used_bytes']['value'] > 0, usage
    call('RemoveImage', {'image': {'image': name}}); call('RemoveImage', {'image': {'image': name}})
    assert 'image' not in call('ImageStatus', {'image': {'image': name}})
    assert len(call('ListImages').get('images', [])) == len(before)

    # A pod and a container.
    events = stub('GetContainerEvents')({}, timeout=60)
    config = {'metadata': {'name': 'every', 'uid': 'u', 'namespace': 'default'}, 'hostname': 'every',
              'labels': {'app': 'every'}, 'annotations': {'note': 'kept'}, 'log_directory': path + '/logs/every',
              'port_mappings': [], 'linux': {'security_context': {'namespace_options': {'pid': 1}}}}
    pod = call('RunPodSandbox', {'config': config})['pod_sandbox_id']
    status = call('PodSandboxStatus', {'pod_sandbox_id': pod, 'verbose': True})
    assert status['status'].get('state', 0) == 0 and status['status']['annotations'] == {'note': 'kept'}, status
    json.loads(status['info']['info'])
    listed = call('ListPodSandbox', {'filter': {'label_selector': {'app': 'every'}}})['items']
    assert [each['id'] for each in listed] == [pod]
    assert [each['id'] for each in whole('StreamPodSandboxes', 'pod_sandboxes')] == [pod]
    script = 'echo ready; while read line; do echo got $line; done; sleep 1000'
    main = {'metadata': {'name': 'main'}, 'image': {'image': 'localhost/busybox:test'}, 'command': ['sh', '-c', script],
            'log_path': 'main.log', 'stdin': True, 'labels': {'tier': 'web'},
            'linux': {'security_context': {'namespace_options': {'pid': 1}}}}
    id = call('CreateContainer', {'pod_sandbox_id': pod, 'config': main, 'sandbox_config': config})['container_id']
    call('StartContainer', {'container_id': id})
    status = call('ContainerStatus', {'container_id': id, 'verbose': True})
    assert status['status']['state'] == 1 and status['status']['labels'] == {'tier': 'web'}, status
    json.loads(status['info']['info'])
    assert [each['id'] for each in call('ListContainers', {'filter': {'pod_sandbox_id': pod}})['containers']] == [id]
    assert [each['id'] for each in whole('StreamContainers', 'containers')] == [id]

    # Into it.
    outcome = call('ExecSync', {'container_id': id, 'cmd': ['sh', '-c', 'echo out; echo err >&2; exit 3'], 'timeout': 10})
    assert outcome == {'stdout': b'out\n', 'stderr': b'err\n', 'exit_code': 3}, outcome
    web = WebSocket(call('Exec', {'container_id': id, 'cmd': ['sh', '-c', 'echo hello; exit 2'], 'stdout': True,
                                  'stderr': True})['url'], 'v5.channel.k8s.io')
    assert web.status == '101', web.status
    seen = web.until(lambda seen: 3 in seen)
    assert seen[1] == b'hello\n' and json.loads(seen[3])['status'] == 'Failure', seen
    web = WebSocket(call('Attach', {'container_id': id, 'stdin': True, 'stdout': True, 'stderr': True})['url'],
                    'v5.channel.k8s.io')
    assert web.status == '101', web.status
    web.send(b'\x00word\n')
    seen = web.until(lambda seen: b'got word\n' in seen.get(1, b''))
    assert b'got word\n' in seen.get(1, b''), seen
    web.socket.close()
    url = call('PortForward', {'pod_sandbox_id': pod, 'port': [80]})['url']
    assert re.match(r'https?://127\.0\.0\.1:\d+/', url), url
    os.rename(path + '/logs/every/main.log', path + '/logs/every/main.log.1')
    call('ReopenContainerLog', {'container_id': id})
    assert os.path.exists(path + '/logs/every/main.log')

    # Figures.
    stats = call('ContainerStats', {'container_id': id})['stats']
    assert stats['attributes']['id'] == id and stats['cpu']['timestamp'] > 0, stats
    assert [each['attributes']['id'] for each in call('ListContainerStats')['stats']] == [id]
    assert [each['attributes']['id'] for each in whole('StreamContainerStats', 'container_stats')] == [id]
    assert call('PodSandboxStats', {'pod_sandbox_id': pod})['stats']['attributes']['id'] == pod
    assert [each['attributes']['id'] for each in call('ListPodSandboxStats')['stats']] == [pod]
    assert [each['attributes']['id'] for each in whole('StreamPodSandboxStats', 'pod_sandbox_stats')] == [pod]
    described = {each['name']: each for each in call('ListMetricDescriptors')['descriptors']}
    assert 'container_cpu_usage_seconds_total' in described, sorted(described)
    for metrics in call('ListPodSandboxMetrics')['pod_metrics'], whole('StreamPodSandboxMetrics', 'pod_sandbox_metrics'):
        assert [each['pod_sandbox_id'] for each in metrics] == [pod]
        of_container = metrics[0]['container_metrics'][0]
        assert of_container['container_id'] == id, metrics
        for metric in metrics[0].get('metrics', []) + of_container['metrics']:
            assert len(metric.get('label_values', [])) == len(described[metric['name']].get('label_keys', [])), metric

    # Changes of what runs: the limits' controllers are on this machine or named.
    for name, value in [('UpdateContainerResources', {'container_id': id, 'linux': {'cpu_shares': 512}}),
                        ('UpdatePodSandboxResources', {'pod_sandbox_id': pod, 'resources': {'cpu_shares': 512}})]:
        try: call(name, value)
        except grpc.RpcError as error: assert 'cpu' in error.details(), (name, error.code(), error.details())
    assert 'heckpoint' in refused('CheckpointContainer', {'container_id': id, 'location': path + '/c.tar'}, 'UNIMPLEMENTED')

    # Its end, twice each.
    for _ in range(2): call('StopContainer', {'container_id': id, 'timeout': 0})
    assert call('ContainerStatus', {'container_id': id})['status']['exit_code'] == 137
    for _ in range(2): call('RemoveContainer', {'container_id': id})
    for _ in range(2): call('StopPodSandbox', {'pod_sandbox_id': pod})
    for _ in range(2): call('RemovePodSandbox', {'pod_sandbox_id': pod})
    refused('ContainerStatus', {'container_id': id}, 'NOT_FOUND'); refused('PodSandboxStatus', {'pod_sandbox_id': pod}, 'NOT_FOUND')
    told = []
    for event in events:
        assert event['created_at'] > 0
        if event['container_id'] == id: told.append(event.get('container_event_type', 0))
        if len(told) == 4: break
    events.cancel()
    assert told == [0, 1, 2, 3], told

    every = {each for calls in services.values() for each in calls}
    assert made == every, every - made
    print('%d calls, none left out' % len(made))
    """#
}
