import JSON
internal import Kernel
import OCISpec

/// Credentials from a docker `config.json`: `auths`, `credHelpers` and `credsStore`.
struct DockerConfig: Sendable {
  let path: String
  private let auths: [String: RegistryCredentials]
  private let helpers: [String: String]
  private let store: String?
  private let helperPath: String

  /// Bytes of the file, and of a helper's answer.
  static let fileBytesMax = 4 << 20
  /// Seconds that a helper may take.
  static let helperTimeoutSeconds = 30.0
  private static let helperPathDefault = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
  /// The name that docker keeps its own registry's credentials under.
  static let dockerHubKey = "index.docker.io"

  /// Nil where there is no such file. Blocks on the disk.
  /// - Throws: `RegistryError` that names the file.
  /// - Parameter helperPath: directories of the helpers, as in PATH; nil takes PATH itself.
  init?(path: String, helperPath: String? = nil) throws(RegistryError) {
    self.path = path
    self.helperPath = helperPath ?? environmentVariable("PATH") ?? Self.helperPathDefault
    let root: JSONValue
    do {
      guard let text = try Files.readText(path, maxBytes: Self.fileBytesMax) else { return nil }
      root = try JSONValue.parse(text, limits: JSONLimits(maxBytes: Self.fileBytesMax, maxDepth: 32))
    } catch {
      throw RegistryError(.invalid, registry: "", repository: "", stage: "read \(path)", "\(error)", cause: error)
    }
    var auths: [String: RegistryCredentials] = [:]
    for (key, value) in root["auths"]?.object?.members ?? [] { auths[Self.host(key)] = Self.credentials(value) }
    self.auths = auths
    var helpers: [String: String] = [:]
    for (key, value) in root["credHelpers"]?.object?.members ?? [] { helpers[Self.host(key)] = value.string }
    self.helpers = helpers
    store = root["credsStore"]?.string
  }

  /// "https://index.docker.io/v1/" and "index.docker.io" are the same key.
  static func host(_ key: String) -> String {
    var rest = Substring(key)
    if let separator = rest.firstRange(of: "://") { rest = rest[separator.upperBound...] }
    return rest.prefix { $0 != "/" }.lowercased()
  }

  private static func credentials(_ entry: JSONValue) -> RegistryCredentials? {
    var found = RegistryCredentials(
      username: entry["username"]?.string ?? "", password: entry["password"]?.string ?? "",
      identityToken: entry["identitytoken"]?.string, registryToken: entry["registrytoken"]?.string)
    if let auth = entry["auth"]?.string, let bytes = Base64.decode(auth) {
      let text = String(decoding: bytes, as: UTF8.self)
      if let colon = text.firstIndex(of: ":") {
        found.username = String(text[..<colon])
        found.password = String(text[text.index(after: colon)...].prefix { $0 != "\0" })
      }
    }
    let isEmpty = found.username.isEmpty && found.identityToken == nil && found.registryToken == nil
    return isEmpty ? nil : found
  }

  /// What is known for a registry; a helper of its own comes before the store, and that before what is in the file.
  func credentials(_ registry: String) async throws(RegistryError) -> RegistryCredentials? {
    let isHub = [ImageReference.defaultRegistry, "registry-1.docker.io", Self.dockerHubKey].contains(registry)
    let key = isHub ? Self.dockerHubKey : registry.lowercased()
    if let helper = helpers[key] ?? store {
      let server = isHub ? "https://\(Self.dockerHubKey)/v1/" : registry
      if let found = try await ask(helper, server: server, registry: registry) { return found }
    }
    return auths[key]
  }

  /// Runs `docker-credential-HELPER get`.
  private func ask(_ helper: String, server: String, registry: String) async throws(RegistryError)
    -> RegistryCredentials?
  {
    let program = "docker-credential-\(helper)"
    func refused(_ detail: String, _ cause: (any Error)? = nil) -> RegistryError {
      RegistryError(.unauthorized, registry: registry, repository: "", stage: "ask \(program)", detail, cause: cause)
    }
    guard helper.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "/") }), !helper.isEmpty else {
      throw refused("\(path) names a helper that is not a program's name")
    }
    let candidates = helperPath.split(separator: ":").map { "\($0)/\(program)" }
    guard let executable = candidates.first(where: Files.exists) else {
      throw refused("is not in PATH; install it or take it out of \(path)")
    }
    let environment = ["PATH", "HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"].compactMap { name in
      environmentVariable(name).map { "\(name)=\($0)" }
    }
    let outcome: ChildProcess.Outcome
    do {
      outcome = try await ChildProcess.run(
        executable, arguments: [program, "get"], environment: environment, input: Array(server.utf8),
        maxOutputBytes: Self.fileBytesMax, timeoutSeconds: Self.helperTimeoutSeconds)
    } catch {
      throw refused("\(error)", error)
    }
    let text = String(decoding: outcome.output, as: UTF8.self)
    guard outcome.status == .exited(0) else {
      // The helpers' protocol has no code for "I know none", only this sentence.
      if text.contains("credentials not found") { return nil }
      throw refused("ended with \(outcome.status): \(text.prefix(200))")
    }
    guard let answer = try? JSONValue.parse(outcome.output), let secret = answer["Secret"]?.string else {
      throw refused("did not answer with the JSON of a credential helper")
    }
    let username = answer["Username"]?.string ?? ""
    return username == "<token>"
      ? RegistryCredentials(identityToken: secret) : RegistryCredentials(username: username, password: secret)
  }
}
