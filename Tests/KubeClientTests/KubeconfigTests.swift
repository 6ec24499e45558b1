import KubeClient
import Testing

@Suite struct KubeconfigTests {
  private let text = """
    apiVersion: v1
    kind: Config
    current-context: one
    preferences: {}
    clusters:
    - name: c1
      cluster:
        server: https://127.0.0.1:6443
        certificate-authority-data: Y2E=
        tls-server-name: kubernetes
    - name: c2
      cluster: {server: "https://example:6443/prefix/", certificate-authority: ca.crt}
    users:
    - name: u1
      user: {client-certificate-data: Y2VydA==, client-key-data: a2V5}
    - name: u2
      user: {client-certificate: pki/a.crt, client-key: /abs/a.key}
    - name: u3
      user: {token: abc}
    - name: u4
      user: {exec: {command: aws}}
    - name: u5
      user: {client-certificate: a.crt}
    - name: u6
      user: {username: me, password: "s:t"}
    contexts:
    - {name: one, context: {cluster: c1, user: u1, namespace: dev}}
    - {name: two, context: {cluster: c2, user: u2}}
    - {name: three, context: {cluster: c2, user: u3}}
    - {name: four, context: {cluster: c2, user: u4}}
    - {name: five, context: {cluster: c2, user: u5}}
    - {name: six, context: {cluster: c2, user: u6}}
    - {name: lost, context: {cluster: c9, user: u6}}
    """

  private func parse(_ context: String?) throws(KubeError) -> Kubeconfig {
    try Kubeconfig.parse(text, context: context, path: "/etc/x/admin.kubeconfig")
  }

  @Test func theCurrentContextIsTaken() throws {
    let found = try parse(nil)
    #expect(found.contextName == "one")
    #expect(found.server == "https://127.0.0.1:6443")
    #expect(found.certificateAuthority == .bytes(Array("ca".utf8)))
    #expect(found.tlsServerName == "kubernetes")
    #expect(found.clientCertificate == .bytes(Array("cert".utf8)))
    #expect(found.clientKey == .bytes(Array("key".utf8)))
    #expect(found.namespace == "dev")
  }

  @Test func pathsAreRelativeToTheFile() throws {
    let found = try parse("two")
    #expect(found.certificateAuthority == .file("/etc/x/ca.crt"))
    #expect(found.clientCertificate == .file("/etc/x/pki/a.crt"))
    #expect(found.clientKey == .file("/abs/a.key"))
  }

  @Test func tokensAndPasswordsAreRead() throws {
    #expect(try parse("three").token == .bytes(Array("abc".utf8)))
    #expect(try parse("six").basic == "bWU6czp0")
  }

  @Test(arguments: [
    ("four", "exec of a user is not supported"), ("five", "one is missing"), ("lost", "no entry named \"c9\""),
    ("none", "no entry named \"none\""),
  ]) func whatCannotBeUsedIsNamed(_ context: String, _ words: String) {
    let problem = #expect(throws: KubeError.self) { try parse(context) }
    #expect(problem?.failure == .configuration)
    #expect(problem?.message.contains(words) == true)
    #expect(problem?.message.contains("/etc/x/admin.kubeconfig") == true)
  }
}
