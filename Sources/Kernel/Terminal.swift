internal import Glibc
internal import Synchronization

/// The terminal of this process, as far as a command line needs it.
package enum Terminal {
  /// Descriptors that every program has.
  package enum Stream: CInt, Sendable {
    case input = 0
    case output = 1
    case errors = 2
  }

  package static func isTerminal(_ stream: Stream) -> Bool { isatty(stream.rawValue) == 1 }

  /// Size in characters, or nil where the stream is no terminal or does not know.
  package static func size(of stream: Stream) -> (columns: UInt16, rows: UInt16)? {
    var size = winsize()
    // Safe: TIOCGWINSZ fills the structure that it is given.
    let result = unsafe withUnsafeMutablePointer(to: &size) { unsafe ioctl(stream.rawValue, UInt(TIOCGWINSZ), $0) }
    guard result == 0, size.ws_col > 0, size.ws_row > 0 else { return nil }
    return (size.ws_col, size.ws_row)
  }

  /// How the terminal passes keys on.
  package enum Mode: Sendable {
    /// Every byte as typed, nothing echoed, no signals: for another machine's terminal behind this one.
    case raw
    /// Keys one by one and not echoed; output is still processed.
    case keys
  }

  /// What the terminal was before the first `enter`.
  private static let saved = Mutex<termios?>(nil)

  /// Changes the mode of the terminal on standard input. `restore` undoes it, also from another thread.
  package static func enter(_ mode: Mode) throws(SyscallError) {
    var now = termios()
    _ = try syscall("tcgetattr", on: "standard input") { unsafe tcgetattr(0, &now) }
    saved.withLock { if $0 == nil { $0 = now } }
    switch mode {
    case .raw:
      unsafe cfmakeraw(&now)
    case .keys:
      now.c_lflag &= ~tcflag_t(ICANON | ECHO | ISIG)
    }
    _ = try syscall("tcsetattr", on: "standard input") { unsafe tcsetattr(0, TCSADRAIN, &now) }
  }

  /// Puts the terminal back to what it was; nothing happens where `enter` was not called.
  package static func restore() {
    saved.withLock { before in
      guard var mode = before else { return }
      _ = unsafe tcsetattr(0, TCSADRAIN, &mode)
      before = nil
    }
  }
}

/// Signals that a command line obeys itself.
package enum TerminalSignal: Sendable, CaseIterable {
  case windowChanged, interrupt, terminate, hangup

  /// The number, of which 128 more is the exit code of who dies by it.
  package var number: Int32 {
    switch self {
    case .windowChanged: SIGWINCH
    case .interrupt: SIGINT
    case .terminate: SIGTERM
    case .hangup: SIGHUP
    }
  }

  /// Takes the signals from the system's default and hands them to `onSignal`, on a thread of its own, one at a time.
  /// Programs that this one starts get the default back. Writing to a closed pipe becomes an error instead of a signal.
  ///
  /// By handlers and not by blocking: Swift's main thread waits with every signal open, whatever was blocked before.
  /// Where no pipe can be had, everything stays at the default.
  package static func watch(_ onSignal: @Sendable @escaping (TerminalSignal) -> Void) {
    _ = signal(SIGPIPE, SIG_IGN)
    guard var pipe = try? Pipe() else { return }
    let reader = SharedFD(pipe.takeReadEnd())
    let writer = pipe.takeWriteEnd().release()
    // A handler may not block; a signal for which there is no room has 64 KiB of others before it.
    _ = fcntl(writer, F_SETFL, O_NONBLOCK)
    unsafe signalPipe = writer
    for signal in allCases { install(signal) }
    // The watcher lives as long as the process, so nobody waits for this task's end.
    Task.detached {
      await onFreshThread { () -> Void in
        while let number = reader.nextByte() {
          if let signal = allCases.first(where: { $0.number == Int32(number) }) { onSignal(signal) }
        }
      }
    }
  }

  private static func install(_ signal: TerminalSignal) {
    var action = sigaction()
    unsafe action.__sigaction_handler.sa_handler = { number in
      // Only what is allowed in a handler: one write, and the interrupted call's errno put back.
      let interrupted = errno
      var byte = UInt8(truncatingIfNeeded: number)
      _ = unsafe write(signalPipe, &byte, 1)
      errno = interrupted
    }
    action.sa_flags = SA_RESTART
    _ = unsafe sigaction(signal.number, &action, nil)
  }
}

/// The handlers' end of the pipe. Written once, before the first handler that reads it is installed.
private nonisolated(unsafe) var signalPipe: CInt = -1

extension SharedFD {
  /// The next byte, or nil at the end. Blocks.
  fileprivate func nextByte() -> UInt8? {
    withRaw { fd in
      var byte: UInt8 = 0
      // Safe: room for the one byte that is asked for.
      let count = try? syscall("read", on: "signals") { unsafe read(fd, &byte, 1) }
      return count == 1 ? byte : nil
    }
  }
}
