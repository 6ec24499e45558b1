internal import Kernel
import NIOSSL
internal import Synchronization

/// What a kubeconfig comes to, kept up to date with the files behind it: certificates are renewed under a running client.
///
/// Connections that are open keep what they began with; new ones use what is newest.
final class KubeCredentials: Sendable {
  struct Current: Sendable {
    var tls: TLSConfiguration?
    var authorization: String?
  }
  private struct State {
    var current: Current
    var files: [String: FileStatus?]
    var lookedAt: Duration
    var isLooking = false
  }

  /// Between two looks at the files.
  private static let lookSeconds = 10

  let configuration: Kubeconfig
  private let source: (path: String, context: String?)?
  private let state: Mutex<State>
  private let clock: KubeClock

  init(fixed configuration: Kubeconfig, clock: KubeClock = .continuous) throws(KubeError) {
    self.configuration = configuration
    self.clock = clock
    source = nil
    let made = try Self.make(configuration)
    state = Mutex(State(current: made.current, files: made.files, lookedAt: clock.now()))
  }

  init(path: String, context: String?, clock: KubeClock = .continuous) throws(KubeError) {
    configuration = try Kubeconfig.load(path: path, context: context)
    source = (path, context)
    self.clock = clock
    let status = try? Files.status(path, follow: true)
    let made = try Self.make(configuration)
    let files = made.files.merging([path: status]) { $1 }
    state = Mutex(State(current: made.current, files: files, lookedAt: clock.now()))
  }

  /// What to use now. Where files changed to something that cannot be used (perhaps half written), it stays as it was, and
  /// they are looked at again.
  func current() async throws(KubeError) -> Current {
    let now = clock.now()
    let due = state.withLock { state -> [String: FileStatus?]? in
      guard !state.files.isEmpty, !state.isLooking, now - state.lookedAt >= .seconds(Self.lookSeconds) else {
        return nil
      }
      (state.isLooking, state.lookedAt) = (true, now)
      return state.files
    }
    guard let due else { return state.withLock { $0.current } }
    let (source, configuration) = (source, configuration)
    let made: (current: Current, files: [String: FileStatus?])? = await onFreshThread {
      let seen = Dictionary(uniqueKeysWithValues: due.keys.map { ($0, try? Files.status($0, follow: true)) })
      guard seen != due else { return nil }
      var files: [String: FileStatus?] = [:]
      var newest = configuration
      if let source {
        files[source.path] = seen[source.path]
        guard let read = try? Kubeconfig.load(path: source.path, context: source.context) else { return nil }
        newest = read
      }
      guard let made = try? Self.make(newest) else { return nil }
      return (made.current, files.merging(made.files) { $1 })
    }
    return state.withLock { state in
      if let made { (state.current, state.files) = (made.current, made.files) }
      state.isLooking = false
      return state.current
    }
  }

  private static func make(
    _ configuration: Kubeconfig
  ) throws(KubeError) -> (current: Current, files: [String: FileStatus?]) {
    var files: [String: FileStatus?] = [:]
    func bytes(_ material: Kubeconfig.Material, _ what: String) throws(KubeError) -> [UInt8] {
      switch material {
      case .bytes(let bytes): return bytes
      case .file(let path):
        // Looked at before it is read: a change in between is seen the next time.
        files[path] = try? Files.status(path, follow: true)
        return try Kubeconfig.read(path, what)
      }
    }
    var current = Current()
    if let token = configuration.token {
      let text = String(decoding: try bytes(token, "token"), as: UTF8.self)
      current.authorization = "Bearer \(text.split(whereSeparator: \.isWhitespace).first ?? "")"
    } else if let basic = configuration.basic {
      current.authorization = "Basic \(basic)"
    }
    guard configuration.server.hasPrefix("https://") else { return (current, files) }
    var tls = TLSConfiguration.makeClientConfiguration()
    if let authority = configuration.certificateAuthority {
      let pem = try bytes(authority, "certificate authority")
      tls.trustRoots = .certificates(
        try parsed("certificate authority") { try NIOSSLCertificate.fromPEMBytes(pem) })
    }
    if configuration.isInsecure { tls.certificateVerification = .none }
    if let certificate = configuration.clientCertificate, let key = configuration.clientKey {
      let (certificate, key) = (try bytes(certificate, "client certificate"), try bytes(key, "client key"))
      let chain = try parsed("client certificate") { try NIOSSLCertificate.fromPEMBytes(certificate) }
      tls.certificateChain = chain.map { .certificate($0) }
      tls.privateKey = .privateKey(try parsed("client key") { try NIOSSLPrivateKey(bytes: key, format: .pem) })
    }
    current.tls = tls
    return (current, files)
  }

  private static func parsed<R>(_ what: String, _ body: () throws -> R) throws(KubeError) -> R {
    do {
      return try body()
    } catch {
      throw KubeError(.configuration, message: "the \(what) is no PEM that can be used: \(error)")
    }
  }
}
