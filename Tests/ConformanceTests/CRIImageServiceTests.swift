import CRIClient
import Kernel
import TestSupport
import Testing

/// The image service as kubelets use it, by somebody else's client and a registry of its own.
@Suite struct CRIImageServiceTests {
  @Test func imagesAreTheSameByEveryNameAndGoWithTheirBytes() async throws {
    try await CRINode.with { node, _ in
      try await Self.pinBusybox(node)
      try await StrangersClient.run(Self.shop + Self.images, on: node, says: "the same by every name")
    }
  }

  @Test func credentialsAreOfOnePullAndOneServerAndBytesAreWhatTheirDigestSays() async throws {
    try await CRINode.with { node, _ in
      try await StrangersClient.run(Self.shop + Self.credentials, on: node, says: "who may pull, pulls")
    }
  }

  /// Writable layers on a disk of their own: a kubelet counts its space apart from the images'.
  @Test func writableLayersOnAnotherFileSystemAreReportedApart() async throws {
    try await CRINode.with { node, _ in
      try await StrangersClient.run(Self.oneFilesystem, on: node, says: "one file system")
      let containers = "\(node.path)/root/containers"
      try await node.stop()
      try await Self.run("mount", "-t", "tmpfs", "-o", "size=16m", "mt-containers", containers)
      do {
        try node.start()
        try await StrangersClient.run(Self.filesystems, on: node, [containers], says: "two file systems")
        try await node.stop()
      } catch {
        try? await node.stop()
        try? await Self.run("umount", "--recursive", containers)
        throw error
      }
      try await Self.run("umount", containers)
      try node.start()
      try await node.connected { _ = try await $0.version() }
    }
  }

  private static func pinBusybox(_ node: CRINode) async throws {
    let settings = "\(node.path)/config.toml"
    let text = try Files.readText(settings) ?? ""
    try Files.writeAtomically(settings, Array("\(text)[images]\npinned = [\"localhost/busybox:test\"]\n".utf8))
    try await node.stop()
    try node.start()
  }

  private static func run(_ words: String...) async throws {
    let outcome = try await ChildProcess.run(
      "/usr/bin/env", arguments: ["env"] + words, environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
    guard outcome.status == .exited(0) else {
      throw CRINode.Failure(description: "\(words): \(String(decoding: outcome.errorOutput, as: UTF8.self))")
    }
  }

  /// A registry with several images of one layer, which counts what is asked of it and may ask for a name and a password.
  private static let shop = #"""
    OCI = 'application/vnd.oci.image.'
    class Shop(http.server.BaseHTTPRequestHandler):
        blobs, manifests, secret, asked = {}, {}, None, []
        def log_message(self, *_): pass
        def do_HEAD(self): self.answer(False)
        def do_GET(self): self.answer(True)
        def answer(self, body):
            last, about = self.path.split('/')[-1], '/manifests/' in self.path
            Shop.asked.append((self.path, self.headers.get('Authorization')))
            if Shop.secret and self.headers.get('Authorization') != Shop.secret:
                self.send_response(401); self.send_header('WWW-Authenticate', 'Basic realm="shop"')
                self.send_header('Content-Length', '0'); self.end_headers(); return
            if self.path == '/v2/': data, kind = b'{}', 'application/json'
            elif about: data, kind = Shop.manifests.get(last, b''), OCI + 'manifest.v1+json'
            else: data, kind = Shop.blobs.get(last, b''), 'application/octet-stream'
            self.send_response(200 if data else 404)
            self.send_header('Content-Type', kind); self.send_header('Content-Length', str(len(data)))
            if about and data: self.send_header('Docker-Content-Digest', digest(data))
            self.end_headers()
            if body: self.wfile.write(data)
    with tarfile.open(path + '/image.tar') as tar:
        base = json.load(tar.extractfile('./config.json')); layer = tar.extractfile('./layer.tar').read()
    def blob(data, kind):
        Shop.blobs[digest(data)] = data
        return {'mediaType': OCI + kind, 'digest': digest(data), 'size': len(data)}
    def publish(tag, author, user):
        config = blob(json.dumps(dict(base, author=author, config=dict(base['config'], User=user))).encode(), 'config.v1+json')
        manifest = json.dumps({'schemaVersion': 2, 'mediaType': OCI + 'manifest.v1+json', 'config': config,
                               'layers': [blob(layer, 'layer.v1.tar')]}).encode()
        Shop.manifests[tag] = Shop.manifests[digest(manifest)] = manifest
        return config['digest'], digest(manifest)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Shop)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = '127.0.0.1:%d' % server.server_port
    name = host + '/some/app'
    def image(name, **more): return call('ImageStatus', dict({'image': {'image': name}}, **more)).get('image')
    def pull(name, **auth):
        return call('PullImage', dict({'image': {'image': name}}, **({'auth': auth} if auth else {})))['image_ref']
    def used(): return call('ImageFsInfo')['image_filesystems'][0]['used_bytes']['value']

    """#

  private static let images = #"""
    before, listed = used(), len(call('ListImages').get('images', []))
    first, first_manifest = publish('1', 'first', '1000:1000'); second, second_manifest = publish('2', 'second', 'app')
    by_digest = name + '@' + first_manifest

    # Pulled by tag and by digest: one image, one id.
    assert pull(name + ':1') == first and pull(by_digest) == first
    asked = len([path for path, _ in Shop.asked if '/blobs/' in path])
    assert pull(name + ':1') == first
    assert len([path for path, _ in Shop.asked if '/blobs/' in path]) == asked, 'bytes that are here were asked for again'
    status = image(name + ':1')
    assert (status['id'], status['repo_tags'], status['repo_digests']) == (first, [name + ':1'], [by_digest]), status
    assert status['size'] >= os.stat('/bin/busybox').st_size and status['uid'] == {'value': 1000} and 'pinned' not in status
    for other in by_digest, first, first[7:], first[7:20]: assert image(other) == status, other
    info = json.loads(call('ImageStatus', {'image': {'image': first}, 'verbose': True})['info']['info'])
    assert info['imageSpec']['config']['User'] == '1000:1000' and 'FROM_IMAGE=yes' in info['imageSpec']['config']['Env'], info
    with_first = used()
    assert with_first > before or listed > 0, (with_first, before)
    # A second image of the same layer costs no second copy of it.
    assert pull(name + ':2') == second and image(second)['username'] == 'app' and used() == with_first

    # Lists, whole and filtered, say the same.
    def every(call_, field, image): return [each for each in call_(field) if each['id'] == image]
    for get in lambda _: call('ListImages')['images'], lambda _: whole('StreamImages', 'images'):
        assert every(get, '', first) == [status]
    for wanted in name + ':1', by_digest, first:
        assert call('ListImages', {'filter': {'image': {'image': wanted}}})['images'] == [status], wanted
    assert not call('ListImages', {'filter': {'image': {'image': name + ':absent'}}})
    assert image('localhost/busybox:test')['pinned'] is True or image('localhost/busybox:test')['pinned'] == 1
    assert image(name + ':absent') is None and image('0' * 64) is None
    for bad in '', host + '/NOT/lower:1', name + '@sha256:short': refused('PullImage', {'image': {'image': bad}}, 'INVALID_ARGUMENT')
    refused('PullImage', {'image': {'image': name + ':absent'}}, 'NOT_FOUND')
    refused('ImageStatus', {}, 'INVALID_ARGUMENT')

    # A container names its image the same way everywhere, whatever it was asked with.
    config = {'metadata': {'name': 'images', 'uid': 'u', 'namespace': 'default'}, 'log_directory': path + '/logs/images',
              'linux': {'security_context': {'namespace_options': {'pid': 1}}}}
    pod = call('RunPodSandbox', {'config': config})['pod_sandbox_id']
    for number, wanted in enumerate([first, name + ':1', by_digest]):
        container = {'metadata': {'name': 'c%d' % number}, 'image': {'image': wanted, 'user_specified_image': name + ':1'},
                     'linux': {'security_context': {'namespace_options': {'pid': 1}}}}
        id = call('CreateContainer', {'pod_sandbox_id': pod, 'config': container, 'sandbox_config': config})['container_id']
        one = call('ContainerStatus', {'container_id': id})['status']
        two = call('ListContainers', {'filter': {'id': id}})['containers'][0]
        for said in one, two:
            assert (said['image_id'], said['image_ref']) == (first, first), said
            assert said['image'] == {'image': wanted, 'user_specified_image': name + ':1'}, said
        call('StartContainer', {'container_id': id})
    refused('RemoveImage', {'image': {'image': first}}, 'FAILED_PRECONDITION')
    assert image(first) == status
    call('RemovePodSandbox', {'pod_sandbox_id': pod})

    # The tag moves to another image; the first one keeps its id and its digest.
    third, _ = publish('1', 'third', '0')
    assert pull(name + ':1') == third and image(name + ':1')['id'] == third
    assert image(first).get('repo_tags', []) == [] and image(by_digest)['id'] == first

    # Removed twice by each of their names: gone, with what nobody else needs.
    for gone in first, name + ':1', name + '@' + second_manifest:
        for _ in range(2): call('RemoveImage', {'image': {'image': gone}})
        assert image(gone) is None, gone
    assert used() == before and len(call('ListImages').get('images', [])) == listed
    refused('RemoveImage', {}, 'INVALID_ARGUMENT')
    print('the same by every name')
    """#

  private static let credentials = #"""
    right = base64.b64encode(b'me:pass: word').decode()
    id, manifest = publish('1', 'closed', '')
    Shop.secret = 'Basic ' + right
    no = ('PERMISSION_DENIED', 'UNAUTHENTICATED')
    def denied(**auth): refused('PullImage', {'image': {'image': name + ':1'}, 'auth': auth}, *no)
    denied(); assert image(name + ':1') is None
    denied(username='me', password='wrong')
    assert pull(name + ':1', username='me', password='pass: word') == id
    # What one pull was allowed is not the next one's, though the image is here.
    denied(); denied(username='me', password='wrong')
    for auth in {'auth': right}, {'auth': right, 'server_address': 'http://%s/v2/' % host}, {'auth': right, 'server_address': host}:
        assert pull(name + ':1', **auth) == id
    # Another server's name and password are not shown to this one.
    Shop.asked.clear()
    denied(auth=right, server_address='https://registry.example/v2/')
    assert Shop.asked and all(shown is None for _, shown in Shop.asked), Shop.asked
    assert 'auth.auth' in refused('PullImage', {'image': {'image': name + ':1'}, 'auth': {'auth': '*'}}, 'INVALID_ARGUMENT')
    call('RemoveImage', {'image': {'image': id}})

    # Bytes that are not what their digest says are no image, and nothing of them stays.
    Shop.secret, before = None, used()
    other, other_manifest = publish('2', 'other', '')
    Shop.manifests[manifest] = Shop.manifests[other_manifest]
    refused('PullImage', {'image': {'image': name + '@' + manifest}}, 'DATA_LOSS')
    Shop.blobs[other] = Shop.blobs[other].replace(b'other', b'OTHER')
    refused('PullImage', {'image': {'image': name + ':2'}}, 'DATA_LOSS')
    base['rootfs']['diff_ids'] = ['sha256:' + '0' * 64]
    publish('3', 'lies about its layer', '')
    refused('PullImage', {'image': {'image': name + ':3'}}, 'DATA_LOSS')
    assert used() == before and image(name + ':2') is None and image(name + ':3') is None
    print('who may pull, pulls')
    """#

  private static let oneFilesystem = #"""
    answer = call('ImageFsInfo')
    assert answer['image_filesystems'] == answer['container_filesystems'] and len(answer['image_filesystems']) == 1, answer
    print('one file system')
    """#

  private static let filesystems = #"""
    containers = sys.argv[4]
    def info():
        answer = call('ImageFsInfo')
        assert len(answer['image_filesystems']) == len(answer['container_filesystems']) == 1, answer
        return answer['image_filesystems'][0], answer['container_filesystems'][0]
    images, layers = info()
    assert images['fs_id']['mountpoint'] == path + '/root/layers' and images['used_bytes']['value'] > 0, images
    assert layers['fs_id']['mountpoint'] == containers and layers['timestamp'] > 0, layers
    assert os.stat(images['fs_id']['mountpoint']).st_dev != os.stat(layers['fs_id']['mountpoint']).st_dev
    assert layers['used_bytes'].get('value', 0) == 0, layers
    config = {'metadata': {'name': 'apart', 'uid': 'u', 'namespace': 'default'}, 'log_directory': path + '/logs/apart',
              'linux': {'security_context': {'namespace_options': {'pid': 1}}}}
    pod = call('RunPodSandbox', {'config': config})['pod_sandbox_id']
    main = {'metadata': {'name': 'main'}, 'image': {'image': 'localhost/busybox:test'}, 'command': ['sleep', '1000'],
            'linux': {'security_context': {'namespace_options': {'pid': 1}}}}
    id = call('CreateContainer', {'pod_sandbox_id': pod, 'config': main, 'sandbox_config': config})['container_id']
    call('StartContainer', {'container_id': id})
    written = call('ExecSync', {'container_id': id, 'cmd': ['dd', 'if=/dev/zero', 'of=/file', 'bs=1M', 'count=2']})
    assert written.get('exit_code', 0) == 0, written
    after, layers = info()
    assert after['used_bytes'] == images['used_bytes'], (after, images)
    assert layers['used_bytes']['value'] >= 2 << 20 and layers['inodes_used']['value'] > 0, layers
    layer = call('ContainerStats', {'container_id': id})['stats']['writable_layer']
    assert layer['fs_id'] == layers['fs_id'] and layer['used_bytes']['value'] >= 2 << 20, layer
    call('RemovePodSandbox', {'pod_sandbox_id': pod})
    print('two file systems')
    """#
}
