import JSON
import Kernel
import NIOHTTP1
import OCISpec
import Registry
import Synchronization
import TestSupport
import Testing

private let image = ServedImage()
private let user = RegistryCredentials(username: "ann", password: "s3cret")
private let basic = "Basic YW5uOnMzY3JldA=="

private func reference(_ registry: FakeRegistry, _ tail: String = ":latest") throws -> ImageReference {
  try ImageReference("\(registry.authority)/app\(tail)")
}

@Suite struct RegistryClientTests {
  @Test func resolvesATagAndFetchesItsBlobs() async throws {
    let registry = try await FakeRegistry { image.answer($0) }
    try await withClient { client in
      let resolved = try await client.resolve(try reference(registry), platform: .host, credentials: nil)
      #expect(resolved.manifestBytes == image.manifest && resolved.descriptor.digest == digest(image.manifest))
      #expect(resolved.targetDigest == digest(image.manifest))
      let bytes1 = try await client.blob(try reference(registry), image.layerDescriptor)
      #expect(bytes1 == image.layer)
      let bytes2 = try await client.blob(try reference(registry), image.layerDescriptor, offset: 777)
      #expect(bytes2 == Array(image.layer[777...]))
    }
    #expect(registry.requests.first?.path == "/v2/app/manifests/latest")
    #expect(registry.requests.first?.headers["accept"].contains(MediaType.ociIndex) == true)
    try await registry.close()
  }

  // MARK: Authentication

  @Test(arguments: [nil, user]) func getsATokenWhereTheRegistryAsksForOne(_ credentials: RegistryCredentials?)
    async throws
  {
    let port = Mutex(0)
    let registry = try await FakeRegistry { request in
      let here = port.withLock { $0 }
      if request.path.hasPrefix("/token") {
        guard request.authorization == (credentials == nil ? nil : basic) else { return .status(401) }
        return .init(body: Array(#"{"token":"tok-1","expires_in":300}"#.utf8))
      }
      guard request.authorization == "Bearer tok-1" else {
        return .status(
          401,
          [
            (
              "www-authenticate",
              "Bearer realm=\"http://127.0.0.1:\(here)/token?x=1\",service=\"reg, \\\"one\\\"\",scope=\"repository:app:pull\""
            )
          ])
      }
      return image.answer(request)
    }
    port.withLock { $0 = registry.port }
    try await withClient { client in
      _ = try await client.resolve(try reference(registry), platform: .host, credentials: credentials)
      _ = try await client.blob(try reference(registry), image.layerDescriptor, credentials: credentials)
    }
    let tokens = registry.requests.filter { $0.path.hasPrefix("/token") }
    #expect(tokens.map(\.path) == ["/token?x=1&scope=repository%3Aapp%3Apull&service=reg%2C%20%22one%22"])
    #expect(registry.requests.filter { $0.path.hasPrefix("/v2") }.allSatisfy { $0.authorization != basic })
    try await registry.close()
  }

  @Test func anIdentityTokenIsExchangedByPost() async throws {
    let port = Mutex(0)
    let registry = try await FakeRegistry { request in
      if request.path == "/token" {
        return request.method == "POST" && request.authorization == nil
          ? .init(body: Array(#"{"access_token":"tok"}"#.utf8)) : .status(400)
      }
      return request.authorization == "Bearer tok"
        ? image.answer(request)
        : .status(401, [("www-authenticate", "Bearer realm=\"http://127.0.0.1:\(port.withLock { $0 })/token\"")])
    }
    port.withLock { $0 = registry.port }
    try await withClient { client in
      _ = try await client.resolve(
        try reference(registry), platform: .host, credentials: RegistryCredentials(identityToken: "id"))
    }
    try await registry.close()
  }

  @Test func answersABasicChallengeAndOnlyThen() async throws {
    let registry = try await FakeRegistry { request in
      request.authorization == basic ? image.answer(request) : .status(401, [("www-authenticate", "Basic realm=\"r\"")])
    }
    try await withClient { client in
      _ = try await client.resolve(try reference(registry), platform: .host, credentials: user)
      _ = try await client.resolve(try reference(registry), platform: .host, credentials: user)
    }
    #expect(registry.requests.map(\.authorization) == [nil, basic, basic])
    try await registry.close()
  }

  @Test func refusedCredentialsAndMissingOnesAreToldApart() async throws {
    let registry = try await FakeRegistry { _ in .status(401, [("www-authenticate", "Basic realm=\"r\"")]) }
    try await withClient { client in
      let with = await #expect(throws: RegistryError.self) {
        try await client.resolve(try reference(registry), platform: .host, credentials: user)
      }
      #expect(with?.code == .unauthorized && with?.description.contains("the credentials were refused") == true)
      #expect(with?.description.contains("s3cret") == false)
      let without = await #expect(throws: RegistryError.self) {
        try await client.resolve(try reference(registry), platform: .host, credentials: nil)
      }
      #expect(
        without?.description
          == "\(registry.authority)/app: resolve manifest latest: 401: access denied; log in to the registry, or check the name: many answer so for what does not exist"
      )
    }
    try await registry.close()
  }

  @Test func dockerConfigGivesEachRegistryItsOwnCredentials() async throws {
    let directory = try TestDirectory()
    let registry = try await FakeRegistry { request in
      request.authorization == basic ? image.answer(request) : .status(401, [("www-authenticate", "Basic realm=\"r\"")])
    }
    let config = "\(directory.path)/config.json"
    try Files.writeAtomically(
      config,
      Array(
        #"{"auths":{"https://\#(registry.authority)/v1/":{"auth":"YW5uOnMzY3JldA=="},"other.test":{"auth":"b3RoZXI6eA=="}}}"#
          .utf8))
    try await withClient(quickOptions(docker: config)) { client in
      _ = try await client.resolve(try reference(registry), platform: .host, credentials: nil)
    }
    // A helper of its own comes first, and is told the server on standard input.
    let helper = "\(directory.path)/docker-credential-mt"
    try Files.writeAtomically(
      helper,
      Array(
        "#!/bin/sh\nread server\nif [ \"$1 $server\" = \"get \(registry.authority)\" ]; then echo '{\"Username\":\"ann\",\"Secret\":\"s3cret\"}'; else echo 'credentials not found in native keychain'; exit 1; fi\n"
          .utf8), mode: 0o755)
    try Files.writeAtomically(config, Array(#"{"credHelpers":{"\#(registry.authority)":"mt"}}"#.utf8))
    var options = quickOptions(docker: config)
    options.helperPath = directory.path
    try await withClient(options) { client in
      _ = try await client.resolve(try reference(registry), platform: .host, credentials: nil)
    }
    options.helperPath = "/nonexistent"
    let error = await #expect(throws: RegistryError.self) {
      try await withClient(options) { try await $0.resolve(try reference(registry), platform: .host, credentials: nil) }
    }
    #expect(error?.description.contains("ask docker-credential-mt: is not in PATH; install it") == true)
    try await registry.close()
    try directory.remove()
  }

  // MARK: Redirects

  @Test func credentialsNeverFollowARedirectToAnotherHostNorBack() async throws {
    let storagePort = Mutex(0)
    let registryPort = Mutex(0)
    let registry = try await FakeRegistry { request in
      if request.path.hasPrefix("/back") {
        return request.authorization == nil ? .init(body: image.layer) : .status(500)
      }
      if request.path.contains("/blobs/") {
        guard request.authorization == basic else { return .status(401, [("www-authenticate", "Basic realm=\"r\"")]) }
        return .status(307, [("location", "http://127.0.0.1:\(storagePort.withLock { $0 })/store?signature=x")])
      }
      return .status(404)
    }
    registryPort.withLock { $0 = registry.port }
    let storage = try await FakeRegistry { request in
      request.authorization == nil
        ? .status(302, [("location", "http://127.0.0.1:\(registryPort.withLock { $0 })/back")]) : .status(500)
    }
    storagePort.withLock { $0 = storage.port }
    try await withClient { client in
      let bytes3 = try await client.blob(try reference(registry), image.layerDescriptor, credentials: user)
      #expect(bytes3 == image.layer)
    }
    #expect(storage.requests.map(\.authorization) == [nil])
    #expect(registry.requests.last?.path == "/back" && registry.requests.last?.authorization == nil)
    try await registry.close()
    try await storage.close()
  }

  @Test func aChallengeOfTheStorageIsNotAnswered() async throws {
    let port = Mutex(0)
    let registry = try await FakeRegistry { request in
      guard request.authorization == basic else { return .status(401, [("www-authenticate", "Basic realm=\"r\"")]) }
      return .status(307, [("location", "http://127.0.0.1:\(port.withLock { $0 })/store")])
    }
    let storage = try await FakeRegistry { _ in .status(401, [("www-authenticate", "Basic realm=\"give me\"")]) }
    port.withLock { $0 = storage.port }
    try await withClient { client in
      let error = await #expect(throws: RegistryError.self) {
        try await client.blob(try reference(registry), image.layerDescriptor, credentials: user)
      }
      #expect(error?.description.contains("by the storage that it redirects to") == true)
    }
    #expect(storage.requests.map(\.authorization) == [nil])
    try await registry.close()
    try await storage.close()
  }

  @Test func redirectsWithinTheRegistryKeepCredentialsAndLoopsEnd() async throws {
    let registry = try await FakeRegistry { request in
      guard request.authorization == basic else { return .status(401, [("www-authenticate", "Basic realm=\"r\"")]) }
      if request.path.hasPrefix("/moved") { return .init(body: image.layer) }
      return request.path.contains("/manifests/")
        ? .status(302, [("location", request.path)]) : .status(301, [("location", "/moved")])
    }
    try await withClient { client in
      let bytes4 = try await client.blob(try reference(registry), image.layerDescriptor, credentials: user)
      #expect(bytes4 == image.layer)
      let error = await #expect(throws: RegistryError.self) {
        try await client.resolve(try reference(registry), platform: .host, credentials: user)
      }
      #expect(error?.detail == "redirects more than 5 times")
    }
    try await registry.close()
  }

  // MARK: Bad lines

  @Test(arguments: [true, false]) func aBrokenDownloadIsResumedWhereItBroke(_ knowsRange: Bool) async throws {
    let registry = try await FakeRegistry { request in
      let isResumed = request.headers.first(name: "range") != nil
      if isResumed { return knowsRange ? image.answer(request) : .init(body: image.layer) }
      return .init(body: image.layer, cutAfter: 40_000)
    }
    try await withClient { client in
      let bytes5 = try await client.blob(try reference(registry), image.layerDescriptor)
      #expect(bytes5 == image.layer)
    }
    let range = try #require(registry.requests[1].headers.first(name: "range"))
    #expect(registry.requests.count == 2 && range.hasPrefix("bytes=") && range != "bytes=0-")
    try await registry.close()
  }

  @Test func aDownloadThatNeverGetsOnEndsAfterItsTries() async throws {
    let registry = try await FakeRegistry { _ in
      .init(headers: [("content-length", "\(image.layer.count)")], body: image.layer, cutAfter: 0)
    }
    try await withClient { client in
      let error = await #expect(throws: RegistryError.self) {
        try await client.blob(try reference(registry), image.layerDescriptor)
      }
      #expect(error?.code == .unavailable && error?.detail.contains("broke off after 0 of 100000 bytes") == true)
    }
    #expect(registry.requests.count == 3)
    try await registry.close()
  }

  @Test(arguments: [429, 503]) func whatMayPassIsTriedAgain(_ status: Int) async throws {
    let count = Mutex(0)
    let registry = try await FakeRegistry { request in
      let number = count.withLock {
        $0 += 1; return $0
      }
      return number < 3 ? .status(status, [("retry-after", "1")]) : image.answer(request)
    }
    try await withClient { client in
      _ = try await client.resolve(try reference(registry), platform: .host, credentials: nil)
      registry.answer { _ in .status(status) }
      let error = await #expect(throws: RegistryError.self) {
        try await client.resolve(try reference(registry), platform: .host, credentials: nil)
      }
      #expect(error?.code == (status == 429 ? .rateLimited : .unavailable))
      #expect(
        error?.detail.contains(
          status == 429 ? "429: too many requests; wait, or log in" : "503: the registry failed; try again later")
          == true)
    }
    #expect(registry.requests.count == 6)
    try await registry.close()
  }

  @Test func aDeadRegistryIsNamedWithWhatToDo() async throws {
    let registry = try await FakeRegistry { _ in .status(404) }
    let name = try reference(registry)
    try await registry.close()
    let error = await #expect(throws: RegistryError.self) {
      try await withClient { try await $0.resolve(name, platform: .host, credentials: nil) }
    }
    #expect(error?.code == .unavailable)
    #expect(
      error?.description.hasPrefix(
        "\(name.registry)/app: resolve manifest latest: cannot reach http://\(name.registry)") == true)
    #expect(error?.description.contains("check that the registry is up") == true)
  }

  @Test func anUnknownRepositorySaysWhatTheRegistrySaid() async throws {
    let registry = try await FakeRegistry { image.answer($0) }
    try await withClient { client in
      let error = await #expect(throws: RegistryError.self) {
        try await client.resolve(try reference(registry, ":no"), platform: .host, credentials: nil)
      }
      #expect(error?.code == .notFound)
      #expect(error?.detail == "404: not found (NAME_UNKNOWN: no such thing); check repository and tag")
    }
    #expect(registry.requests.count == 1)
    try await registry.close()
  }

  @Test func aReceiverThatStopsIsNotTriedAgain() async throws {
    struct Stop: Error {}
    let registry = try await FakeRegistry { image.answer($0) }
    try await withClient { client in
      await #expect(throws: Stop.self) {
        try await client.openBlob(try reference(registry), image.layerDescriptor, offset: 0, credentials: nil) { _ in
          throw Stop()
        }
      }
    }
    #expect(registry.requests.count == 1)
    try await registry.close()
  }

  // MARK: Bad content

  static let badManifests: [(name: String, type: String, body: String, says: String)] = [
    (
      "schema 1", MediaType.dockerSchema1Signed, #"{"schemaVersion":1,"fsLayers":[]}"#,
      "Docker schema 1 manifest, which is not supported"
    ),
    ("ambiguous", MediaType.ociIndex, #"{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}"#, "is ambiguous"),
    (
      "contradiction", MediaType.ociManifest,
      #"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#, "contradicts"
    ),
    (
      "chart", MediaType.ociManifest,
      #"{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"sha256:\#(String(repeating: "0", count: 64))","size":2},"layers":[]}"#,
      "is not a container image"
    ),
    ("page", "text/html", "<html>", "is not acceptable JSON"),
    ("unknown type", "application/x-thing", #"{"schemaVersion":2}"#, "neither an image manifest nor an index"),
    ("deep", MediaType.ociManifest, String(repeating: "[", count: 100_000), "is not acceptable JSON"),
    (
      "no platform", MediaType.ociIndex,
      #"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:\#(String(repeating: "0", count: 64))","size":2,"platform":{"os":"linux","architecture":"s390x"}}]}"#,
      "no image for linux/"
    ),
  ]

  @Test(arguments: badManifests.map(\.name)) func aBadManifestIsRefusedByName(_ name: String) async throws {
    let bad = try #require(Self.badManifests.first { $0.name == name })
    let registry = try await FakeRegistry { _ in
      .init(headers: [("content-type", bad.type)], body: Array(bad.body.utf8))
    }
    try await withClient { client in
      let error = await #expect(throws: RegistryError.self) {
        try await client.resolve(try reference(registry), platform: .host, credentials: nil)
      }
      #expect(
        error?.stage == "read manifest" && error?.detail.contains(bad.says) == true, "\(String(describing: error))")
    }
    try await registry.close()
  }

  @Test func aManifestOfAnotherDigestOrOfMegabytesIsRefused() async throws {
    let registry = try await FakeRegistry { _ in
      .init(
        headers: [
          ("content-type", MediaType.ociManifest),
          ("docker-content-digest", "sha256:\(String(repeating: "0", count: 64))"),
        ], body: image.manifest)
    }
    try await withClient { client in
      let announced = await #expect(throws: RegistryError.self) {
        try await client.resolve(try reference(registry), platform: .host, credentials: nil)
      }
      #expect(announced?.code == .corrupt && announced?.detail.contains("the registry announces") == true)
      registry.answer { _ in .init(headers: [("content-type", MediaType.ociManifest)], body: image.manifest) }
      let pinned = await #expect(throws: RegistryError.self) {
        try await client.resolve(
          try reference(registry, "@sha256:\(String(repeating: "1", count: 64))"), platform: .host, credentials: nil)
      }
      #expect(pinned?.code == .corrupt && pinned?.stage == "verify manifest")
      registry.answer { _ in .init(body: [UInt8](repeating: 0x20, count: 5 << 20)) }
      let large = await #expect(throws: RegistryError.self) {
        try await client.resolve(try reference(registry), platform: .host, credentials: nil)
      }
      #expect(large?.code == .tooLarge)
    }
    try await registry.close()
  }

  @Test func aBlobOfAnotherSizeIsRefusedBeforeItIsRead() async throws {
    let registry = try await FakeRegistry { image.answer($0) }
    var larger = image.layerDescriptor
    larger.size += 1
    try await withClient { [larger] client in
      let error = await #expect(throws: RegistryError.self) { try await client.blob(try reference(registry), larger) }
      #expect(error?.code == .corrupt && error?.detail == "the registry has 100000 bytes, the manifest says 100001")
    }
    try await registry.close()
  }

  @Test func anIndexLeadsToTheManifestOfThePlatform() async throws {
    let index = ImageIndex(manifests: [
      Descriptor(
        mediaType: MediaType.ociManifest, digest: digest([1]), size: 1,
        platform: Platform(os: "linux", architecture: "s390x")),
      Descriptor(
        mediaType: MediaType.ociManifest, digest: digest(image.manifest), size: Int64(image.manifest.count),
        platform: .host),
    ]).json.encoded()
    let registry = try await FakeRegistry { request in
      request.path.hasSuffix("/many")
        ? .init(headers: [("content-type", MediaType.ociIndex)], body: index) : image.answer(request)
    }
    try await withClient { client in
      let resolved = try await client.resolve(try reference(registry, ":many"), platform: .host, credentials: nil)
      #expect(resolved.manifestBytes == image.manifest && resolved.targetDigest == digest(index))
    }
    try await registry.close()
  }
}
