import Kernel
import NIOHTTP1
import OCISpec
import Registry
import TestSupport
import Testing

@Suite struct RegistryProxyTests {
  /// The proxy refuses; that it was asked, for what and by whom is what counts here.
  @Test(arguments: [("https", 443), ("http", 80)])
  func aRegistryIsReachedThroughTheProxyThatTheEnvironmentNames(_ scheme: String, _ port: Int) async throws {
    let proxy = try await FakeRegistry { _ in .status(503) }
    let hosts = try TestDirectory()
    try Files.makeDirectories("\(hosts.path)/example.test")
    try Files.writeAtomically(
      "\(hosts.path)/example.test/hosts.toml", Array("server = \"\(scheme)://example.test\"\n".utf8))
    var options = quickOptions(hosts: hosts.path)
    let address = "http://ann:p%40ss@\(proxy.authority)/"
    options.proxies = RegistryProxies(http: address, https: address, except: "other.test")
    let error = await #expect(throws: RegistryError.self) {
      try await withClient(options) { client in
        _ = try await client.resolve(
          try ImageReference("example.test/app:latest"), platform: .host,
          credentials: RegistryCredentials(username: "not", password: "for the proxy"))
      }
    }
    #expect(error?.detail.contains("through the proxy \(proxy.authority)") == true, "\(String(describing: error))")
    let asked = try #require(proxy.requests.first)
    #expect(asked.method == "CONNECT" && asked.path == "example.test:\(port)")
    #expect(asked.headers["proxy-authorization"] == ["Basic YW5uOnBAc3M="])
    #expect(asked.authorization == nil)
    try await proxy.close()
    try hosts.remove()
  }

  @Test(arguments: [
    ("https://ghcr.io/v2", "h2:3128"), ("http://ghcr.io/v2", "h1:80"), ("https://sub.direct.test/v2", nil),
    ("https://direct.test/v2", nil), ("https://notdirect.test/v2", "h2:3128"), ("https://a.suffix.test/v2", nil),
    ("https://suffix.test/v2", "h2:3128"), ("https://10.1.2.3/v2", nil), ("https://10.2.2.3/v2", "h2:3128"),
    ("https://port.test:5000/v2", nil), ("https://port.test/v2", "h2:3128"), ("https://192.168.7.7:9/v2", nil),
    ("http://localhost:5000/v2", nil), ("http://127.0.0.2:5000/v2", nil), ("https://[fd00::1]:5000/v2", nil),
    ("https://[fd01::1]/v2", "h2:3128"),
  ]) func exceptionsAreHostsDomainsAddressesAndPorts(_ url: String, _ proxy: String?) {
    let proxies = RegistryProxies(
      http: "h1", https: "http://h2:3128",
      except: "direct.test, .suffix.test,10.1.0.0/16,port.test:5000,192.168.7.7,fd00::/16")
    #expect(proxies.problems == [])
    #expect(proxies.shown(for: url) == proxy)
  }

  @Test func everythingCanBeExceptedAndWhatIsNoProxyIsSaid() {
    #expect(RegistryProxies(http: nil, https: "http://h:1", except: "*").shown(for: "https://a.test/") == nil)
    for text in ["https://h:1", "socks5://h:1", "http://", "h:0", "h:x", "u%zz@h"] {
      let proxies = RegistryProxies(http: nil, https: text, except: nil)
      #expect(proxies.problems.count == 1 && proxies.shown(for: "https://a.test/") == nil, "\(text)")
      #expect(!proxies.problems.joined().contains("u%zz"))
    }
    #expect(RegistryProxies(http: "", https: "", except: "").problems == [])
  }

  @Test func aProxyThatIsDownIsNamed() async throws {
    var options = quickOptions()
    options.proxies = RegistryProxies(http: nil, https: "http://ann:secret@127.0.0.1:9", except: nil)
    let error = await #expect(throws: RegistryError.self) {
      try await withClient(options) { client in
        _ = try await client.resolve(try ImageReference("example.test/app:latest"), platform: .host, credentials: nil)
      }
    }
    #expect("\(error!)".contains("through the proxy 127.0.0.1:9") && !"\(error!)".contains("secret"))
  }
}
