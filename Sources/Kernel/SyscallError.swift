internal import CLinux
internal import Glibc

/// A call to the kernel that failed: which, on what, and how.
///
/// Prints as `openat(config.json): ENOENT (2)`.
package struct SyscallError: Error, Hashable, CustomStringConvertible {
  /// The call's name, as in its manual page.
  package let call: String
  /// What it was about: a path, a link, a process.
  package let subject: String
  /// The error number.
  package let errno: CInt

  package init(call: String, subject: String, errno: CInt) {
    self.call = call
    self.subject = subject
    self.errno = errno
  }

  package var description: String { "\(call)(\(subject)): \(Self.name(of: errno)) (\(errno))" }

  /// The symbol of an error number, such as `ENOENT`.
  package static func name(of errno: CInt) -> String {
    guard let name = unsafe clinux_errno_name(errno) else { return "errno" }
    return unsafe String(cString: name)
  }
}

/// Error numbers that callers branch on.
package enum Errno {
  package static let noEntry: CInt = ENOENT
  package static let exists: CInt = EEXIST
  package static let notDirectory: CInt = ENOTDIR
  package static let isDirectory: CInt = EISDIR
  package static let notEmpty: CInt = ENOTEMPTY
  package static let busy: CInt = EBUSY
  package static let permission: CInt = EPERM
  package static let access: CInt = EACCES
  package static let invalid: CInt = EINVAL
  package static let noSpace: CInt = ENOSPC
  package static let noProcess: CInt = ESRCH
  package static let noChild: CInt = ECHILD
  package static let tooManyLinks: CInt = ELOOP
  package static let nameTooLong: CInt = ENAMETOOLONG
  package static let again: CInt = EAGAIN
  package static let noDevice: CInt = ENODEV
  package static let notSupported: CInt = EOPNOTSUPP
  package static let noSystemCall: CInt = ENOSYS
  package static let brokenPipe: CInt = EPIPE
  package static let connectionRefused: CInt = ECONNREFUSED
  package static let connectionReset: CInt = ECONNRESET
  package static let timedOut: CInt = ETIMEDOUT
  package static let crossDevice: CInt = EXDEV
  package static let tooBig: CInt = E2BIG
  package static let messageTooLong: CInt = EMSGSIZE
  package static let noExec: CInt = ENOEXEC
  package static let addressInUse: CInt = EADDRINUSE
  package static let ioError: CInt = EIO
}

/// The one funnel to the kernel: retries EINTR, reads `errno` before anything else can change it, stops the process on
/// errors that only a bug of ours produces, and keeps call and subject.
///
/// - Throws: `SyscallError` where the call returns -1.
@inline(never)
package func syscall<R: FixedWidthInteger>(
  _ call: StaticString, on subject: @autoclosure () -> String, _ body: () -> R
) throws(SyscallError) -> R {
  while true {
    let result = body()
    if result != -1 { return result }
    let code = Glibc.errno
    if code == EINTR { continue }
    precondition(code != EBADF && code != EFAULT, "\(call): descriptor or pointer bug, errno \(code)")
    throw SyscallError(call: call.description, subject: subject(), errno: code)
  }
}
