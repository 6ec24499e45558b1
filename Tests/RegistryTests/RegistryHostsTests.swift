import Kernel
import NIOHTTP1
import OCISpec
import TestSupport
import Testing

@testable import Registry

private let image = ServedImage()
private let own = RegistryEndpoint(base: RegistryURL(scheme: "https", authority: "reg.test", path: "/v2"))

@Suite struct RegistryHostsTests {
  @Test func mirrorsComeInTheOrderWrittenAndTheRegistryLast() throws {
    let text = """
      server = "https://reg.test"
      [host."https://z.test"]
        capabilities = ["pull", "resolve"]
        ca = "z.pem"
      [host."http://a.test:5000/mirror"]
        capabilities = ["pull"]
        skip_verify = true
        override_path = true
        client = [["/c.pem", "/c.key"]]
        [host."http://a.test:5000/mirror".header]
          x-one = ["1", "2"]
      """
    let found = try RegistryHosts.parse(text, path: "/etc/certs/hosts.toml", own: own)
    #expect(found.map(\.base.description) == ["https://z.test/v2", "http://a.test:5000/mirror", "https://reg.test/v2"])
    #expect(found.map(\.isMirror) == [true, true, false])
    #expect(found[0].authorities == ["/etc/certs/z.pem"] && found[0].resolves)
    #expect(found[1].skipVerify && !found[1].resolves && found[1].headers == ["x-one": ["1", "2"]])
    #expect(found[1].clientCertificates == [.init(certificate: "/c.pem", key: "/c.key")])
  }

  @Test(arguments: [
    ("serve = 1", "serve is not a known key"), ("server = \"ftp://x\"", "is not an http or https URL"),
    ("[host.\"https://m.test\"]\ncapabilities = [\"fly\"]", "something other than pull, resolve and push"),
    ("[host.\"https://m.test\"]\nskip_verify = 1", "skip_verify is not true or false"), ("server = ", "is not TOML"),
    ("[host.\"https://m.test\"]\nskip_verfy = true", "skip_verfy is not a known key"),
    ("[host.\"https://user:pw@m.test\"]", "is not an http or https URL"),
  ])
  func aMistakeInTheFileIsNamed(_ text: String, _ says: String) {
    let error = #expect(throws: RegistryError.self) { try RegistryHosts.parse(text, path: "/x/hosts.toml", own: own) }
    #expect(
      error?.description.contains(says) == true && error?.description.contains("/x/hosts.toml") == true,
      "\(String(describing: error))")
  }

  @Test func plainHTTPIsForThisMachineOnly() throws {
    for (registry, scheme) in [
      ("docker.io", "https"), ("reg.test:80", "https"), ("localhost", "http"), ("127.0.0.1:5000", "http"),
      ("[::1]:5000", "http"), ("127.evil.test", "https"), ("localhost.evil.test", "https"), ("10.0.0.1:5000", "https"),
    ] {
      #expect(try RegistryHosts.endpoints(registry, directory: nil).map(\.base.scheme) == [scheme], "\(registry)")
    }
    #expect(try RegistryHosts.endpoints("docker.io", directory: nil)[0].base.authority == "registry-1.docker.io")
  }

  @Test func redirectsAreResolvedAsURLs() throws {
    let url = try #require(RegistryURL("https://a.test/v2/app/blobs/x?y=1"))
    #expect(url.following("/z")?.description == "https://a.test/z")
    #expect(url.following("z?q")?.description == "https://a.test/v2/app/blobs/z?q")
    #expect(url.following("//b.test/z")?.description == "https://b.test/z")
    #expect(url.following("http://b.test")?.description == "http://b.test/")
    #expect(url.following("file:///etc/passwd") == nil && url.following("https://u:p@b.test/") == nil)
    #expect(RegistryURL("https://a.test:443/x")?.origin == RegistryURL("https://A.test/y")?.origin)
    #expect(url.shown == "https://a.test/v2/app/blobs/x")
  }

  @Test func aMirrorIsAskedFirstWithoutTheRegistrysCredentials() async throws {
    let directory = try TestDirectory()
    let basic = "Basic YTpi"
    let registry = try await FakeRegistry { request in
      request.authorization == basic ? image.answer(request) : .status(401, [("www-authenticate", "Basic realm=\"r\"")])
    }
    let mirror = try await FakeRegistry { request in
      request.path.contains("/blobs/")
        ? image.answer(request) : .status(401, [("www-authenticate", "Basic realm=\"r\"")])
    }
    let hosts = "\(directory.path)/127.0.0.1_\(registry.port)_"
    try Files.makeDirectories(hosts)
    try Files.writeAtomically(
      "\(hosts)/hosts.toml",
      Array(
        "[host.\"http://\(mirror.authority)\"]\n[host.\"http://\(mirror.authority)\".header]\nx-team = \"blue\"\n".utf8)
    )
    let name = try ImageReference("\(registry.authority)/app")
    let credentials = RegistryCredentials(username: "a", password: "b")
    try await withClient(quickOptions(hosts: directory.path)) { client in
      _ = try await client.resolve(name, platform: .host, credentials: credentials)
      let bytes6 = try await client.blob(name, image.layerDescriptor, credentials: credentials)
      #expect(bytes6 == image.layer)
    }
    #expect(mirror.requests.allSatisfy { $0.authorization == nil && $0.headers.first(name: "x-team") == "blue" })
    #expect(mirror.requests.first?.path == "/v2/app/manifests/latest?ns=127.0.0.1%3A\(registry.port)")
    #expect(registry.requests.allSatisfy { $0.headers.first(name: "x-team") == nil && !$0.path.contains("/blobs/") })
    // The mirror breaks off in the middle: the registry goes on from there.
    mirror.answer { _ in .init(body: image.layer, cutAfter: 30_000) }
    try await withClient(quickOptions(hosts: directory.path)) { client in
      let bytes7 = try await client.blob(name, image.layerDescriptor, credentials: credentials)
      #expect(bytes7 == image.layer)
    }
    try await registry.close()
    try await mirror.close()
    try directory.remove()
  }

  @Test func challengesAreReadAsWritten() {
    let found = AuthChallenge.parse(
      "Basic realm=\"x\", Bearer realm=\"https://a/t\" , service=plain,scope=\"a:b,c\", Negotiate")
    #expect(found.map(\.scheme) == ["basic", "bearer", "negotiate"])
    #expect(found[1].parameters == ["realm": "https://a/t", "service": "plain", "scope": "a:b,c"])
    #expect(AuthChallenge.parse("") == [] && AuthChallenge.parse("=,\"\"") == [])
    #expect(AuthChallenge.parse(String(repeating: "a ", count: 10_000)) == [])
  }

  @Test func waitsGrowAndHaveABound() {
    var retry = RegistryRetry()
    retry.random = { 0.999 }
    let waits = (2...12).map { retry.delay(before: $0, retryAfterSeconds: nil) / 1_000_000 }
    #expect(zip(waits, waits.dropFirst()).allSatisfy { $0 <= $1 } && waits.last! <= 10_000 && waits[0] >= 125)
    #expect(retry.delay(before: 2, retryAfterSeconds: 3600) == 30_000_000_000)
  }

  @Test func base64GoesBothWays() {
    for text in ["", "a", "ab", "abc", "ann:s3cret", "ü:\u{1F40B}"] {
      #expect(Base64.decode(Base64.encode(text)) == Array(text.utf8))
    }
    #expect(Base64.encode("ann:s3cret") == "YW5uOnMzY3JldA==" && Base64.decode("*") == nil)
  }
}
