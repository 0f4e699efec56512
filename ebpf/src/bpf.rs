//! The kernel side, by hook.
//!
//! ```text
//! app connect()        connect     policy; destination into CLIENT; address rewritten
//! app sendto()         sendmsg     policy of datagrams
//!   SYN leaves         sockops/connecting   CLIENT -> PENDING
//!   proxy's accept     sockops/accepted     PENDING -> ACCEPTED
//! SYN from outside     lookup      steered to the inbound listener
//!   proxy's hop        sockops/connecting   OWN -> FORWARD
//!   app's accept       sockops/accepted     FORWARD -> SERVED
//! app getpeername()    peername    CLIENT or SERVED
//! app getsockname()    sockname    the routed source address
//! ```
//!
//! Only UAPI contexts and helpers are used, so that no relocation is needed. What is read
//! of kernel structures, in `kernels` and `executable`, is where the loader says.

mod connect;
mod ctx;
mod datagram;
mod executable;
mod kernels;
mod lookup;
mod maps;
mod peername;
mod refuse;
mod sendmsg;
mod sockname;
mod sockops;
mod sockopt;
