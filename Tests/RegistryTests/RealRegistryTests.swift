import ImageStore
import Kernel
import NIOCore
import NIOPosix
import OCISpec
import Registry
import TestSupport
import Testing

/// Debian's docker-registry on loopback, with an image that umoci made and skopeo pushed.
private final class RealRegistry {
  let directory: TestDirectory
  let port: Int
  let process: ChildProcess
  var authority: String { "127.0.0.1:\(port)" }

  init(tls: Bool = false) async throws {
    directory = try TestDirectory()
    let free = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton).bind(host: "127.0.0.1", port: 0)
      .get()
    port = free.localAddress?.port ?? 0
    try await free.close()
    let config =
      "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: \(directory.path)/data}}\nhttp:\n  addr: '127.0.0.1:\(port)'\n"
    let secure = tls ? "  tls: {certificate: \(directory.path)/cert.pem, key: \(directory.path)/key.pem}\n" : ""
    try Files.writeAtomically("\(directory.path)/config.yml", Array((config + secure).utf8))
    if tls {
      let made = try await ChildProcess.run(
        "/usr/bin/openssl",
        arguments: [
          "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=mt", "-addext",
          "subjectAltName=IP:127.0.0.1", "-keyout", "\(directory.path)/key.pem", "-out", "\(directory.path)/cert.pem",
        ])
      #expect(made.status == .exited(0))
    }
    process = try ChildProcess.start(
      "/usr/bin/docker-registry", arguments: ["docker-registry", "serve", "\(directory.path)/config.yml"],
      environment: ["PATH=/usr/bin:/bin"])
    try await waitUntilItListens()
  }

  private func waitUntilItListens() async throws {
    for _ in 0..<200 {
      if let channel = try? await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).connect(
        host: "127.0.0.1", port: port
      ).get() {
        try await channel.close()
        return
      }
      try await Task.sleep(for: .milliseconds(25))
    }
    throw RegistryError(.unavailable, registry: "docker-registry", repository: "", stage: "start", "does not listen")
  }

  func shell(_ script: String) async throws {
    let environment = ["PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=\(directory.path)", "REGISTRY=\(authority)"]
    let outcome = try await ChildProcess.run(
      "/bin/sh", arguments: ["sh", "-ec", "cd \(directory.path)\n\(script)"], environment: environment)
    #expect(outcome.status == .exited(0), "\(String(decoding: outcome.errorOutput, as: UTF8.self))")
  }
}

@Suite struct RealRegistryTests {
  @Test func pullsWhatUmociMadeAndSkopeoPushed() async throws {
    let registry = try await RealRegistry()
    try await registry.shell(
      """
      umoci init --layout layout; umoci new --image layout:one
      mkdir -p one/etc two/etc; echo first >one/etc/a; echo gone >one/etc/b; ln -s a one/etc/link; chmod 4755 one/etc/a; head -c 3000000 /dev/urandom >one/random
      umoci insert --image layout:one one /; echo second >two/etc/a
      umoci insert --image layout:one two/etc/a /etc/a; umoci insert --image layout:one --whiteout /etc/b
      umoci config --image layout:one --config.cmd /bin/true --config.env A=1
      skopeo --insecure-policy copy -q --dest-tls-verify=false oci:layout:one docker://$REGISTRY/team/one:1
      skopeo --insecure-policy copy -q --dest-tls-verify=false --format v2s2 oci:layout:one docker://$REGISTRY/team/one:docker
      """)
    let root = "\(registry.directory.path)/store"
    let store = ImageStore(root: root, log: quiet)
    _ = try await store.start()
    let authority = registry.authority
    try await withClient { client in
      let source = ContentSource(
        name: "registry", resolve: { try await client.resolve($0, platform: $1, credentials: nil) },
        openBlob: { try await client.openBlob($0, $1, offset: $2, credentials: nil, receive: $3) })
      let record = try await store.pull(try ImageReference("\(authority)/team/one:1"), from: source)
      #expect(record.config.command == ["/bin/true"] && record.config.environment.contains("A=1"))
      #expect(record.layerDirectories.count == 3)
      let (top, middle, bottom) = (record.layerDirectories[0], record.layerDirectories[1], record.layerDirectories[2])
      #expect(try Files.status("\(top)/etc/b")?.kind == .characterDevice)
      #expect(try Files.readText("\(middle)/etc/a") == "second\n" && Files.readText("\(bottom)/etc/a") == "first\n")
      #expect(try Files.status("\(bottom)/etc/a")?.mode == 0o4755 && Files.readLink("\(bottom)/etc/link") == "a")
      let docker = try await store.pull(try ImageReference("\(authority)/team/one:docker"), from: source)
      #expect(docker.layerDirectories == record.layerDirectories)
      let missing = await #expect(throws: ImageError.self) {
        try await store.pull(try ImageReference("\(authority)/team/none"), from: source)
      }
      #expect(
        missing?.code == .notFound
          && missing?.description.contains("\(authority)/team/none: resolve manifest latest: 404: not found") == true)
    }
    await store.shutdown()
    try LayerUnpack.remove(registry.directory.path)
  }

  @Test func tlsNeedsATrustedAuthorityOrHostsTomlThatSaysOtherwise() async throws {
    let registry = try await RealRegistry(tls: true)
    let name = try ImageReference("\(registry.authority)/none")
    let hosts = "\(registry.directory.path)/certs.d/127.0.0.1_\(registry.port)_"
    try Files.makeDirectories(hosts)
    func ask(_ toml: String) async throws -> RegistryError? {
      try Files.writeAtomically("\(hosts)/hosts.toml", Array(toml.utf8))
      let options = quickOptions(hosts: "\(registry.directory.path)/certs.d")
      return await #expect(throws: RegistryError.self) {
        try await withClient(options) { try await $0.resolve(name, platform: .host, credentials: nil) }
      }
    }
    let server = "server = \"https://\(registry.authority)\"\n"
    let untrusted = try await ask(server)
    #expect(
      untrusted?.code == .unavailable && untrusted?.detail.contains("TLS failed") == true,
      "\(String(describing: untrusted))")
    // Past TLS, the registry itself says that it has no such repository.
    #expect(try await ask(server + "ca = \"\(registry.directory.path)/cert.pem\"\n")?.code == .notFound)
    #expect(try await ask(server + "skip_verify = true\n")?.code == .notFound)
    try LayerUnpack.remove(registry.directory.path)
  }
}
