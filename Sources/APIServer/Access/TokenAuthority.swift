import JSON
import Kernel
import KubeModel
package import PKI

/// Why a token does not let anybody in: for logs and TokenReview, never for who sent it.
package struct TokenRefusal: Error, Hashable, Sendable, CustomStringConvertible {
  package var description: String
  init(_ description: String) { self.description = description }
}

/// Signs the tokens of service accounts, and tells who brings one, or a bootstrap token.
///
/// A token is believed as long as its signature, its time and its audience fit, and what it is bound to is there and is
/// the same: its account, and its pod, Secret or node.
/// https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
package struct TokenAuthority: Sendable {
  package static let usualIssuer = "https://kubernetes.default.svc.cluster.local"

  package let keys: TokenKeys
  package var issuer: String
  /// For whom tokens are that name nobody, and for whom this server takes them.
  package var audiences: [String]
  /// Seconds since 1970.
  package var now: @Sendable () -> Int64
  private let reader: ObjectReader
  /// Shared by all copies of this value.
  private let verified = VerifiedTokens()

  package init(
    keys: TokenKeys, reader: ObjectReader, issuer: String = TokenAuthority.usualIssuer, audiences: [String] = []
  ) {
    self.keys = keys
    self.reader = reader
    self.issuer = issuer
    self.audiences = audiences.isEmpty ? [issuer] : audiences
    now = { SystemClock.wallNanoseconds / 1_000_000_000 }
  }

  /// Who brings a token, and the audiences for which it counts.
  package struct Authenticated: Hashable, Sendable {
    package var user: UserInfo
    package var audiences: [String]
  }

  /// - Parameter audiences: for whom the token must be; nil: for this server.
  package func authenticate(
    _ token: String, audiences: [String]?
  ) throws(TokenRefusal) -> Authenticated {
    if let bootstrap = BootstrapToken(token) {
      guard audiences == nil || audiences?.contains(where: self.audiences.contains) == true else {
        throw TokenRefusal("a bootstrap token is for this server only")
      }
      return Authenticated(
        user: try bootstrap.user(reader, now: now()),
        audiences: (audiences ?? self.audiences).filter(self.audiences.contains))
    }
    let claims: JSONObject
    do throws(TokenError) {
      claims = try verified.claims(of: token, now: now()) { (token) throws(TokenError) in try keys.claims(of: token) }
    } catch {
      throw TokenRefusal("\(error)")
    }
    if claims.text("iss") == Self.secretIssuer { return try secretUser(claims, token, audiences) }
    guard claims.text("iss") == issuer else { throw TokenRefusal("token: another issuer") }
    try checkTime(claims)
    let named = claims["aud"]?.array?.compactMap(\.string) ?? claims["aud"]?.string.map { [$0] } ?? []
    let wanted = audiences ?? self.audiences
    let fitting = wanted.filter(named.contains)
    guard !fitting.isEmpty else { throw TokenRefusal("token audiences \(named) is invalid for the target audiences") }
    return Authenticated(user: try boundUser(claims), audiences: fitting)
  }

  /// Clocks of the machines that brought the token about are this one: no leeway is given at the end.
  private static let skewSeconds: Int64 = 5

  private func checkTime(_ claims: JSONObject) throws(TokenRefusal) {
    let now = now()
    guard let end = claims["exp"]?.integer else { throw TokenRefusal("token: it names no end") }
    guard now < end else { throw TokenRefusal("service account token has expired") }
    if let begin = claims["nbf"]?.integer, now + Self.skewSeconds < begin {
      throw TokenRefusal("token: not valid yet")
    }
  }

  // MARK: bound tokens

  static let claimsKey = "kubernetes.io"

  private func boundUser(_ claims: JSONObject) throws(TokenRefusal) -> UserInfo {
    guard let bound = claims[Self.claimsKey]?.object else { throw TokenRefusal("token: it names no account") }
    let namespace = bound.text("namespace")
    let (name, uid) = (bound[object: "serviceaccount"].text("name"), bound[object: "serviceaccount"].text("uid"))
    guard claims.text("sub") == Self.userName(namespace, name) else { throw TokenRefusal("token: not of its account") }
    try checkAlive("serviceaccounts", namespace, name, uid)
    var user = Self.user(namespace, name, uid)
    let prefix = "authentication.kubernetes.io/"
    if !claims.text("jti").isEmpty { user.extra["\(prefix)credential-id"] = ["JTI=\(claims.text("jti"))"] }
    if let secret = bound["secret"]?.object {
      try checkAlive("secrets", namespace, secret.text("name"), secret.text("uid"))
    }
    if let pod = bound["pod"]?.object {
      try checkAlive("pods", namespace, pod.text("name"), pod.text("uid"))
      user.extra["\(prefix)pod-name"] = [pod.text("name")]
      user.extra["\(prefix)pod-uid"] = [pod.text("uid")]
    }
    if let node = bound["node"]?.object {
      // The node of a pod is told, not asked for: the pod's end is the token's.
      if bound["pod"] == nil { try checkAlive("nodes", "", node.text("name"), node.text("uid")) }
      user.extra["\(prefix)node-name"] = [node.text("name")]
      if !node.text("uid").isEmpty { user.extra["\(prefix)node-uid"] = [node.text("uid")] }
    }
    return user
  }

  /// Time after its deletion was asked for during which a pod's or account's token still counts.
  private static let deletionGraceSeconds: Int64 = 60

  private func checkAlive(
    _ resource: String, _ namespace: String, _ name: String, _ uid: String
  ) throws(TokenRefusal) {
    let key = namespace.isEmpty ? "/\(resource)/\(name)" : "/\(resource)/\(namespace)/\(name)"
    guard !name.isEmpty, !name.contains("/"), let object = reader.object(key) else {
      throw TokenRefusal("token: its \(resource) \(name) is gone")
    }
    guard object.text(at: "metadata", "uid") == uid, !uid.isEmpty else {
      throw TokenRefusal("token: \(resource) \(name) is another one of that name")
    }
    let deletion = object.text(at: "metadata", "deletionTimestamp")
    if !deletion.isEmpty, let time = ObjectNames.seconds(deletion), now() > time + Self.deletionGraceSeconds {
      throw TokenRefusal("token: \(resource) \(name) has been deleted")
    }
  }

  package static func userName(_ namespace: String, _ name: String) -> String {
    "system:serviceaccount:\(namespace):\(name)"
  }

  static func user(_ namespace: String, _ name: String, _ uid: String) -> UserInfo {
    UserInfo(
      name: userName(namespace, name),
      groups: ["system:serviceaccounts", "system:serviceaccounts:\(namespace)", UserInfo.authenticatedGroup], uid: uid)
  }

  // MARK: tokens in Secrets

  static let secretIssuer = "kubernetes/serviceaccount"
  static let secretClaims = "kubernetes.io/serviceaccount"

  /// A token that has no end of its own: it counts as long as its Secret holds it.
  private func secretUser(
    _ claims: JSONObject, _ token: String, _ audiences: [String]?
  ) throws(TokenRefusal) -> Authenticated {
    let namespace = claims.text("\(Self.secretClaims)/namespace")
    let name = claims.text("\(Self.secretClaims)/service-account.name")
    let uid = claims.text("\(Self.secretClaims)/service-account.uid")
    let secret = claims.text("\(Self.secretClaims)/secret.name")
    guard claims.text("sub") == Self.userName(namespace, name), !secret.contains("/") else {
      throw TokenRefusal("token: not of its account")
    }
    try checkAlive("serviceaccounts", namespace, name, uid)
    guard let stored = reader.object("/secrets/\(namespace)/\(secret)"),
      stored.text(at: "type") == "kubernetes.io/service-account-token",
      stored.text(at: "metadata", "deletionTimestamp").isEmpty,
      let data = Base64Bytes.decoded(stored.text(at: "data", "token")), data == Array(token.utf8)
    else { throw TokenRefusal("token: its Secret \(secret) does not hold it") }
    let wanted = audiences ?? self.audiences
    let fitting = wanted.filter(self.audiences.contains)
    guard !fitting.isEmpty else { throw TokenRefusal("token: it is for this server only") }
    return Authenticated(user: Self.user(namespace, name, uid), audiences: fitting)
  }

  /// The token of a Secret of type `kubernetes.io/service-account-token`.
  package func secretToken(
    namespace: String, account: String, uid: String, secret: String
  ) throws(PKIError) -> String {
    try keys.sign([
      "iss": .string(Self.secretIssuer), "\(Self.secretClaims)/namespace": .string(namespace),
      "\(Self.secretClaims)/secret.name": .string(secret),
      "\(Self.secretClaims)/service-account.name": .string(account),
      "\(Self.secretClaims)/service-account.uid": .string(uid), "sub": .string(Self.userName(namespace, account)),
    ])
  }
}

/// Padded base64 of Secrets.
enum Base64Bytes {
  static func decoded(_ text: String) -> [UInt8]? { KubeModel.Base64.decode(text) }
}

/// `abcdef.0123456789abcdef`: what a node that is to join knows.
///
/// https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/
struct BootstrapToken: Hashable {
  let id: String
  let secret: String

  static let secretType = "bootstrap.kubernetes.io/token"
  static let group = "system:bootstrappers"

  /// - Returns: nil for what is not written as such a token.
  init?(_ text: String) {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 2, parts[0].utf8.count == 6, parts[1].utf8.count == 16,
      text.utf8.allSatisfy({ $0 == 0x2E || (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) })
    else { return nil }
    id = String(parts[0])
    secret = String(parts[1])
  }

  func user(_ reader: ObjectReader, now: Int64) throws(TokenRefusal) -> UserInfo {
    guard let object = reader.object("/secrets/kube-system/bootstrap-token-\(id)"),
      object.text(at: "type") == Self.secretType, object.text(at: "metadata", "deletionTimestamp").isEmpty
    else { throw TokenRefusal("bootstrap token \(id): there is none") }
    func value(_ key: String) -> String {
      String(decoding: Base64Bytes.decoded(object.text(at: "data", key)) ?? [], as: UTF8.self)
    }
    guard value("token-id") == id, Self.isSame(value("token-secret"), secret) else {
      throw TokenRefusal("bootstrap token \(id): another secret")
    }
    let expiration = value("expiration")
    if !expiration.isEmpty {
      guard let end = ObjectNames.seconds(expiration), now < end else {
        throw TokenRefusal("bootstrap token \(id): expired")
      }
    }
    guard value("usage-bootstrap-authentication") == "true" else {
      throw TokenRefusal("bootstrap token \(id): not for authentication")
    }
    let extra = value("auth-extra-groups").split(separator: ",").map(String.init)
    guard extra.allSatisfy({ $0.hasPrefix("\(Self.group):") }) else {
      throw TokenRefusal("bootstrap token \(id): a group outside \(Self.group):")
    }
    return UserInfo(
      name: "system:bootstrap:\(id)", groups: [Self.group] + extra.sorted() + [UserInfo.authenticatedGroup])
  }

  /// Takes as long for a wrong text as for a right one.
  private static func isSame(_ one: String, _ other: String) -> Bool {
    let (one, other) = (Array(one.utf8), Array(other.utf8))
    guard one.count == other.count else { return false }
    return zip(one, other).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
  }
}
